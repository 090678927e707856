"""Each objective against its formula, through whole steps on one device and on eight (see also test_step.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from tcl_jax import losses
from tcl_jax.errors import UserError
from tcl_jax.parallel import DATA_AXIS, local_rows, make_mesh
from tcl_jax.train.objective import Loss, find_loss, make_objective
from tests.train.outputs import BATCH, HYPER, IMAGES, RNG, mean_of_pairs, unit_views


def value(name, labels, views, devices):
    """The objective for outputs [views, images, d]; each device gets the views of its own images, view by view."""
    objective = make_objective(name, labels=labels, num_views=len(views))

    def local(views, batch):
        return objective.loss(views.reshape(-1, views.shape[-1]), batch, HYPER)

    in_specs = (P(None, DATA_AXIS), P(DATA_AXIS))
    mapped = jax.shard_map(local, mesh=make_mesh(devices), in_specs=in_specs, out_specs=P())
    return float(jax.jit(mapped)(views, BATCH))


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
        ("tlc", "class", 2, r"loss.name is 'tlc'.* tcl, supcon, ntxent, cross_entropy"),
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
    settings = dict(temperature=0.2, k1=k1, k2=k2)
    expected = losses.diagnostics(views.reshape(-1, 5), ids, **settings)._asdict()
    expected["collapsed_loss"] = losses.tcl_loss(np.tile([[0, 0.6, 0.8]], (len(ids), 1)), ids, **settings)
    if name != "tcl":
        assert expected["collapsed_loss"] == pytest.approx(np.log(len(ids) - 1), rel=1e-5)
    found = jax.jit(mapped)(views, BATCH)
    assert {k: float(x) for k, x in found.items()} == pytest.approx(
        {k: float(x) for k, x in expected.items()}, rel=1e-4, abs=1e-6
    )


def diagnostics_of(objective, outputs, references=None):
    """On one device, of outputs [views b, d]."""

    def local(outputs, batch, references):
        return objective.diagnostics(outputs, batch, HYPER, references)

    in_specs = (P(DATA_AXIS), P(DATA_AXIS), P())
    mapped = jax.shard_map(local, mesh=make_mesh(1), in_specs=in_specs, out_specs=P())
    return {name: float(x) for name, x in jax.jit(mapped)(outputs, BATCH, references).items()}


def test_cross_entropy_is_compared_with_logits_that_favour_no_class():
    objective = make_objective("cross_entropy", labels="class", num_views=1)
    logits = RNG.normal(size=(IMAGES, 3)).astype(np.float32)
    assert diagnostics_of(objective, logits) == {"collapsed_loss": pytest.approx(np.log(3))}


def test_the_loss_of_equal_projections_has_the_references_of_a_queue_among_its_pairs():
    objective = make_objective("ntxent", labels="class", num_views=2)
    embeddings = unit_views(3).reshape(-1, 5)
    weights = np.repeat([1.0, 0.0], IMAGES * 3 / 2).astype(np.float32)
    references = embeddings, np.full(len(embeddings), 5000), weights
    found = diagnostics_of(objective, unit_views(2).reshape(-1, 5), references)
    assert found["collapsed_loss"] == pytest.approx(np.log(2 * IMAGES - 1 + np.sum(weights)), rel=1e-6)


def test_losses_of_the_users_own_have_the_diagnostics_that_do_not_depend_on_them():
    views = unit_views(2).reshape(-1, 5)
    expected = losses.diagnostics(views, np.tile(BATCH.labels, 2))._asdict()
    found = diagnostics_of(make_objective(f"{OWN}:mean_of_pairs", labels="class", num_views=2), views)
    names = {"positive_similarity", "negative_similarity", "alignment", "uniformity", "rank"}
    assert found == {name: pytest.approx(float(expected[name]), rel=1e-5) for name in names}
    assert diagnostics_of(make_objective(f"{HERE}:classifier", labels="class", num_views=2), views) == {}


def not_a_scalar(rows, labels):
    return rows


def greedy(rows, labels, margin):
    return 0


def wants_logits(rows, labels):
    return jnp.mean(rows)


classifier = Loss(wants_logits, head="classifier")
HERE = __name__
OWN = "tests.train.outputs"


@pytest.mark.parametrize("devices", [1, 8])
def test_a_loss_of_the_users_own_sees_the_whole_batch_as_on_one_device(devices):
    views, ids = unit_views(2), np.tile(BATCH.labels, 2)

    def expected(views):
        return mean_of_pairs(views.reshape(-1, 5), ids, temperature=0.2, num_views=2)

    objective = make_objective(f"{OWN}:mean_of_pairs", labels="class", num_views=2)

    def local(views, batch):
        return objective.loss(views.reshape(-1, views.shape[-1]), batch, HYPER)

    in_specs = (P(None, DATA_AXIS), P(DATA_AXIS))
    mapped = jax.shard_map(local, mesh=make_mesh(devices), in_specs=in_specs, out_specs=P())
    found, gradient = jax.jit(jax.value_and_grad(mapped))(views, BATCH)
    whole, whole_gradient = jax.value_and_grad(expected)(views)
    assert float(found) == pytest.approx(float(whole), rel=1e-5)
    np.testing.assert_allclose(gradient, whole_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_rows_of_all_devices_are_in_the_order_of_the_batch(micro_batches):
    views, mesh = unit_views(3), make_mesh(8)
    objective = make_objective("tcl", labels="image", num_views=3, micro_batches=micro_batches)
    order = local_rows(IMAGES, mesh, micro_batches)

    def local(views, batch):
        return objective.of_all_devices(views.reshape(-1, 5), batch)

    mapped = jax.shard_map(local, mesh=mesh, in_specs=(P(None, DATA_AXIS), P(DATA_AXIS)), out_specs=P())
    rows, labels = jax.jit(mapped)(views[:, order], jax.tree.map(lambda x: x[order], BATCH))
    np.testing.assert_array_equal(rows, views.reshape(-1, 5))
    np.testing.assert_array_equal(labels, np.tile(BATCH.indices, 3))


def counted_references(rows, labels, references, axis_name=None):
    """The sum over the references; of one of these devices where there is no axis."""
    total = jnp.sum(jnp.prod(jnp.column_stack([references[0], *references[1:]]), axis=1))
    return total if axis_name is None else jax.lax.psum(total, axis_name)


def counted_whole(rows, labels, references):
    return counted_references(rows, labels, references)


@pytest.mark.parametrize("name", ["counted_references", "counted_whole"])
def test_references_are_shared_out_to_a_loss_that_takes_the_axis_and_whole_to_one_that_does_not(name):
    objective = make_objective(f"{HERE}:{name}", labels="class", num_views=1)
    references = (
        RNG.normal(size=(24, 5)).astype(np.float32),
        np.arange(24),
        np.tile([0, 1, 2], 8).astype(float),
    )

    def local(rows, batch, references):
        return objective.loss(rows, batch, HYPER, references)

    in_specs = (P(DATA_AXIS), P(DATA_AXIS), P())
    mapped = jax.jit(jax.shard_map(local, mesh=make_mesh(8), in_specs=in_specs, out_specs=P()))
    expected = np.sum(np.prod(references[0], axis=1) * references[1] * references[2])
    assert float(mapped(unit_views(1)[0], BATCH, references)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "labels"), [("tcl", "class"), ("supcon", "image"), ("ntxent", "class")])
def test_references_are_further_columns_of_every_contrastive_loss(name, labels):
    views, past = unit_views(2), unit_views(3).reshape(-1, 5)
    ids = np.tile(BATCH.labels if name == "tcl" else BATCH.indices, 5)
    objective = make_objective(name, labels=labels, num_views=2)

    def local(views, batch, references):
        return objective.loss(views.reshape(-1, 5), batch, HYPER, references)

    in_specs = (P(None, DATA_AXIS), P(DATA_AXIS), P())
    mapped = jax.jit(jax.shard_map(local, mesh=make_mesh(8), in_specs=in_specs, out_specs=P()))
    function, settings = losses.supcon_loss, {"temperature": 0.2}
    if name == "tcl":
        function, settings = losses.tcl_loss, settings | {"k1": 30.0, "k2": 1.5}
    for weight in (0.0, 1.0):
        references = past, ids[: len(past)], np.full(len(past), weight, np.float32)
        expected = function(views.reshape(-1, 5), ids[: 2 * IMAGES], references=references, **settings)
        assert float(mapped(views, BATCH, references)) == pytest.approx(float(expected), rel=1e-5)


def test_what_a_loss_takes():
    assert {"temperature", "references"} <= make_objective("tcl", labels="class", num_views=2).takes
    assert "references" not in make_objective("cross_entropy", labels="class", num_views=2).takes
    assert "references" in make_objective(f"{HERE}:counted_whole", labels="class", num_views=2).takes


def test_a_loss_that_takes_the_axis_is_handed_the_rows_of_each_device():
    views = unit_views(2)
    expected = np.mean(views.reshape(-1, 5)[:, 0] * np.tile(BATCH.labels, 2))
    assert value(f"{OWN}:mean_over_devices", "class", views, 8) == pytest.approx(expected, rel=1e-5)


def test_settings_and_head_are_those_of_the_loss():
    assert find_loss("tcl").settings == ("temperature", "k1", "k2")
    assert find_loss("supcon").settings == find_loss("ntxent").settings == ("temperature",)
    assert find_loss("cross_entropy").settings == ()
    assert find_loss(f"{OWN}:mean_of_pairs").settings == ("temperature",)
    assert make_objective("tcl", labels="class", num_views=2).head == "projection"
    assert make_objective(f"{HERE}:classifier", labels="class", num_views=1).head == "classifier"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not_a_scalar", r"loss.name gives an array of shape \[32, 5\], expected a scalar"),
        (
            "greedy",
            r"needs 'margin', expected 2 arguments by position and by name any of temperature, k1, k2",
        ),
    ],
)
def test_what_is_not_a_loss_is_named(name, message):
    with pytest.raises(UserError, match=message):
        value(f"{HERE}:{name}", "class", unit_views(2), 1)
