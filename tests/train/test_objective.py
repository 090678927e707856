"""Each objective against its formula, through whole steps on one device and on eight (see also test_step.py)."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from tcl_jax import losses
from tcl_jax.data import Batch
from tcl_jax.errors import UserError
from tcl_jax.parallel import DATA_AXIS, make_mesh
from tcl_jax.train.objective import make_objective
from tcl_jax.train.state import Hyper

IMAGES, HYPER = 16, Hyper(0.1, 0.2, 30.0, 1.5, 0)
RNG = np.random.default_rng(0)
BATCH = Batch(
    images=np.zeros((IMAGES, 8, 8, 1), np.uint8),
    labels=RNG.integers(0, 3, IMAGES).astype(np.int32),
    indices=RNG.permutation(1000)[:IMAGES].astype(np.int32),
    weights=np.ones(IMAGES, np.float32),
)


def value(name, labels, views, devices):
    """The objective for outputs [views, images, d]; each device gets the views of its own images, view by view."""
    objective = make_objective(name, labels=labels, num_views=len(views))

    def local(views, batch):
        return objective.loss(views.reshape(-1, views.shape[-1]), batch, HYPER)

    in_specs = (P(None, DATA_AXIS), P(DATA_AXIS))
    mapped = jax.shard_map(local, mesh=make_mesh(devices), in_specs=in_specs, out_specs=P())
    return float(jax.jit(mapped)(views, BATCH))


def unit_views(count):
    z = RNG.normal(size=(count, IMAGES, 5)).astype(np.float32)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("labels", ["class", "image"])
def test_tcl_by_class_and_by_image_with_three_views(labels, devices):
    views = unit_views(3)
    ids = np.tile(BATCH.labels if labels == "class" else np.arange(IMAGES), 3)
    expected = losses.tcl_loss(views.reshape(-1, 5), ids, temperature=0.2, k1=30.0, k2=1.5)
    assert value("tcl", labels, views, devices) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("devices", [1, 8])
def test_supcon_by_image_is_ntxent(devices):
    views = unit_views(2)
    expected = losses.ntxent_loss(views.reshape(-1, 5), temperature=0.2)
    for name, labels in (("supcon", "image"), ("ntxent", "class"), ("ntxent", "image")):
        assert value(name, labels, views, devices) == pytest.approx(float(expected), rel=1e-5)
    by_class = losses.supcon_loss(views.reshape(-1, 5), np.tile(BATCH.labels, 2), temperature=0.2)
    assert value("supcon", "class", views, devices) == pytest.approx(float(by_class), rel=1e-5)


@pytest.mark.parametrize("devices", [1, 8])
def test_cross_entropy_is_the_mean_over_all_views(devices):
    logits = RNG.normal(size=(2, IMAGES, 3)).astype(np.float32)
    log_p = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    expected = -np.mean([log_p[view, np.arange(IMAGES), BATCH.labels] for view in range(2)])
    assert value("cross_entropy", "class", logits, devices) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "labels", "num_views", "message"),
    [
        ("tlc", "class", 2, r"no 'tlc' for loss.name.* tcl, supcon, ntxent, cross_entropy"),
        ("tcl", "instance", 2, r"loss.labels is 'instance', expected one of class, image"),
        ("cross_entropy", "image", 2, "learns classes"),
        ("ntxent", "class", 1, "names 1 views, too few"),
        ("tcl", "image", 1, "names 1 views, too few"),
        ("tcl", "class", 0, "names 0 views, too few"),
    ],
)
def test_what_cannot_be_is_named(name, labels, num_views, message):
    with pytest.raises(UserError, match=message):
        make_objective(name, labels=labels, num_views=num_views)


@pytest.mark.parametrize(
    ("name", "k1", "k2"), [("tcl", 30.0, 1.5), ("supcon", 0.0, 1.0), ("ntxent", 0.0, 1.0)]
)
def test_diagnostics_are_those_of_the_loss_that_is_trained(name, k1, k2):
    views = unit_views(2)
    objective = make_objective(name, labels="class", num_views=2)
    ids = np.tile(np.arange(IMAGES) if name == "ntxent" else BATCH.labels, 2)

    def local(views, batch):
        return objective.diagnostics(views.reshape(-1, 5), batch, HYPER)

    mapped = jax.shard_map(
        local, mesh=make_mesh(8), in_specs=(P(None, DATA_AXIS), P(DATA_AXIS)), out_specs=P()
    )
    expected = losses.diagnostics(views.reshape(-1, 5), ids, temperature=0.2, k1=k1, k2=k2)._asdict()
    found = jax.jit(mapped)(views, BATCH)
    assert {k: float(x) for k, x in found.items()} == pytest.approx(
        {k: float(x) for k, x in expected.items()}, rel=1e-4, abs=1e-6
    )


def test_cross_entropy_has_no_diagnostics():
    objective = make_objective("cross_entropy", labels="class", num_views=1)
    assert objective.diagnostics(np.zeros((IMAGES, 3)), BATCH, HYPER) == {}
