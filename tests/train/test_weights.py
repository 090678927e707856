"""Weights of rows in each objective: none for rows without an image, those of classes for others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from sklearn.utils import compute_class_weight

from tcl_jax import losses
from tcl_jax.errors import UserError
from tcl_jax.parallel import DATA_AXIS, make_mesh
from tcl_jax.train.objective import balanced_weights, make_objective, weigh_classes
from tcl_jax.train.queue import empty_queue
from tests.marks import slow
from tests.train.outputs import BATCH, HYPER, IMAGES, unit_views

HERE = __name__
OWN = "tests.train.outputs"
LIVE = np.array([1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1], np.float32)
PADDED = BATCH._replace(weights=LIVE, indices=np.where(LIVE > 0, BATCH.indices, -1).astype(np.int32))


def weighted_mean(rows, labels, weights):
    """A loss of the whole batch, of which weights must come in the order of rows."""
    weights = 1.0 if weights is None else weights
    return jnp.sum(weights * rows[:, 0] * labels) / jnp.sum(weights * jnp.ones(len(rows)))


@pytest.mark.parametrize("devices", [8, *slow(1)])
@pytest.mark.parametrize("name", ["tcl", "cross_entropy", f"{HERE}:weighted_mean", *slow("supcon", "ntxent")])
def test_rows_without_an_image_count_in_no_loss_and_no_diagnostics(name, devices):
    views = unit_views(2)
    objective = make_objective(name, labels="class", num_views=2, weighted=True)

    def local(views, batch):
        outputs = views.reshape(-1, views.shape[-1])
        return objective.loss(outputs, batch, HYPER), objective.diagnostics(outputs, batch, HYPER)

    def of(views, batch, devices):
        in_specs = (P(None, DATA_AXIS), P(DATA_AXIS))
        mapped = jax.shard_map(local, mesh=make_mesh(devices), in_specs=in_specs, out_specs=P())
        return jax.tree.map(float, jax.jit(mapped)(views, batch))

    live = np.flatnonzero(LIVE)
    loss, found = of(views, PADDED, devices)
    expected, of_live = of(views[:, live], jax.tree.map(lambda x: x[live], BATCH), 1)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert found == pytest.approx(of_live, rel=1e-4, abs=1e-6)


def test_rows_without_an_image_are_not_references():
    objective = make_objective("tcl", labels="class", num_views=2, weighted=True)

    def local(views, batch):
        return objective.of_all_devices(views.reshape(-1, views.shape[-1]), batch)

    in_specs = (P(None, DATA_AXIS), P(DATA_AXIS))
    mapped = jax.shard_map(local, mesh=make_mesh(8), in_specs=in_specs, out_specs=P())
    rows, labels = jax.jit(mapped)(unit_views(2), PADDED)
    queue = empty_queue(len(rows), rows).push(rows, labels)
    np.testing.assert_array_equal(queue.references[2], np.tile(LIVE, 2))
    np.testing.assert_array_equal(
        queue.references[1][queue.references[2] > 0], np.tile(BATCH.labels[LIVE > 0], 2)
    )


@pytest.mark.parametrize("name", ["mean_of_pairs", "mean_over_devices"])
def test_a_loss_without_weights_is_refused_where_rows_have_some(name):
    with pytest.raises(UserError, match=f"data.images_per_class .* the loss '.*{name}' takes no 'weights'"):
        make_objective(f"{OWN}:{name}", labels="class", num_views=2, weighted=True)


def test_without_rows_that_have_no_image_weights_change_nothing():
    objective = make_objective("tcl", labels="class", num_views=2)
    views = unit_views(2)

    def local(views, batch):
        return objective.loss(views.reshape(-1, views.shape[-1]), batch, HYPER)

    in_specs = (P(None, DATA_AXIS), P(DATA_AXIS))
    mapped = jax.jit(jax.shard_map(local, mesh=make_mesh(8), in_specs=in_specs, out_specs=P()))
    assert float(mapped(views, BATCH)) == float(mapped(views, PADDED._replace(indices=BATCH.indices)))


CLASS_WEIGHTS = np.array([0.5, 1.25, 3.0], np.float32)


def cross_entropies(logits, labels):
    logits = logits.astype(np.float64)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]


def tcl_of_each(rows, labels, live):
    """L_i of each anchor, and whether it has a positive, by the formula with the settings of HYPER."""
    similarities = rows.astype(np.float64) @ rows.T
    other = live[None] & ~np.eye(len(rows), dtype=bool)
    positive = other & (labels[:, None] == labels)
    negative = other & (labels[:, None] != labels)
    near = np.exp(similarities / 0.2)
    pulled = positive * (near + 30.0 * np.exp(-similarities))
    denominators = (pulled + 1.5 * negative * near).sum(axis=1)
    count = np.maximum(positive.sum(axis=1), 1)
    return np.log(denominators) - (positive * similarities).sum(axis=1) / 0.2 / count, positive.any(axis=1)


@pytest.mark.parametrize("batch", [BATCH, PADDED], ids=["whole", "padded"])
@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("name", ["tcl", "cross_entropy", f"{HERE}:weighted_mean"])
def test_a_row_weighs_what_its_class_does_in_the_mean_and_nowhere_else(name, devices, batch):
    views = unit_views(2)
    made = make_objective(name, labels="class", num_views=2, class_weights="balanced")
    objective = weigh_classes(made, CLASS_WEIGHTS)

    def local(views, batch):
        outputs = views.reshape(-1, views.shape[-1])
        return objective.loss(outputs, batch, HYPER)

    in_specs = (P(None, DATA_AXIS), P(DATA_AXIS))
    mapped = jax.jit(jax.shard_map(local, mesh=make_mesh(devices), in_specs=in_specs, out_specs=P()))
    rows, labels, live = views.reshape(-1, 5), np.tile(BATCH.labels, 2), np.tile(batch.weights, 2) > 0
    each, counts = cross_entropies(rows, labels), live
    if name == "tcl":
        each, has_positive = tcl_of_each(rows, labels, live)
        counts = live & has_positive
    elif name != "cross_entropy":
        each = rows[:, 0] * labels
    weights = CLASS_WEIGHTS[labels] * counts
    expected = np.sum(weights * each) / np.sum(weights)
    assert float(mapped(views, batch)) == pytest.approx(expected, rel=1e-5)


def test_weights_of_classes_reach_the_diagnostics_and_leave_the_queue_as_it_is():
    views, ids = unit_views(2), np.tile(BATCH.labels, 2)
    made = make_objective("tcl", labels="class", num_views=2, class_weights="balanced")
    objective = weigh_classes(made, CLASS_WEIGHTS)

    def local(views, batch):
        outputs = views.reshape(-1, 5)
        return objective.diagnostics(outputs, batch, HYPER), objective.of_all_devices(outputs, batch)

    in_specs = (P(None, DATA_AXIS), P(DATA_AXIS))
    mapped = jax.jit(jax.shard_map(local, mesh=make_mesh(1), in_specs=in_specs, out_specs=P()))
    found, (rows, labels) = mapped(views, BATCH)
    settings = {"temperature": 0.2, "k1": 30.0, "k2": 1.5}
    expected = losses.diagnostics(views.reshape(-1, 5), ids, weights=CLASS_WEIGHTS[ids], **settings)
    assert "collapsed_loss" in found
    found.pop("collapsed_loss")
    assert {k: float(x) for k, x in found.items()} == pytest.approx(
        {k: float(x) for k, x in expected._asdict().items()}, rel=1e-4, abs=1e-6
    )
    np.testing.assert_array_equal(labels, ids)
    queue = empty_queue(len(rows), rows).push(rows, labels)
    np.testing.assert_array_equal(queue.references[2], 1)


def test_references_are_columns_of_weight_one_whatever_their_class():
    views, past = unit_views(2), unit_views(3).reshape(-1, 5)
    ids = np.tile(BATCH.labels, 3)
    made = make_objective("tcl", labels="class", num_views=2, class_weights="balanced")
    objective = weigh_classes(made, CLASS_WEIGHTS)

    def local(views, batch, references):
        return objective.loss(views.reshape(-1, 5), batch, HYPER, references)

    in_specs = (P(None, DATA_AXIS), P(DATA_AXIS), P())
    mapped = jax.jit(jax.shard_map(local, mesh=make_mesh(8), in_specs=in_specs, out_specs=P()))
    settings = {"temperature": 0.2, "k1": 30.0, "k2": 1.5, "weights": CLASS_WEIGHTS[ids[: 2 * IMAGES]]}
    expected = losses.tcl_loss(views.reshape(-1, 5), ids[: 2 * IMAGES], references=(past, ids), **settings)
    references = past, ids, np.ones(len(past), np.float32)
    assert float(mapped(views, BATCH, references)) == pytest.approx(float(expected), rel=1e-5)


def test_balanced_weights_are_those_of_scikit_learn():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 6, 40) * rng.integers(0, 2, 40)  # some classes may have no images
        found = balanced_weights(labels, 7)
        present = np.unique(labels)
        expected = compute_class_weight("balanced", classes=present, y=labels)
        np.testing.assert_allclose(found[present], expected, rtol=1e-6)
        assert (found[np.setdiff1d(np.arange(7), present)] == 0).all()
        assert found.dtype == np.float32
        assert np.mean(found[labels]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "labels", "weights", "message"),
    [
        ("tcl", "class", "inverse", "loss.class_weights is 'inverse', expected one of none, balanced"),
        ("ntxent", "class", "balanced", "the loss 'ntxent' with loss.labels 'class' learns images"),
        ("supcon", "image", "balanced", "the loss 'supcon' with loss.labels 'image' learns images"),
        (f"{OWN}:mean_of_pairs", "class", "balanced", "mean_of_pairs' takes no 'weights', by which it"),
    ],
)
def test_weights_of_classes_that_cannot_be(name, labels, weights, message):
    with pytest.raises(UserError, match=message) as caught:
        make_objective(name, labels=labels, num_views=2, class_weights=weights)
    assert "\n" not in str(caught.value)
