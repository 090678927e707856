"""The whole step: one compilation, one result on any number of devices, and a program for accelerators."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax import losses
from tcl_jax.data import Batch
from tcl_jax.models import make_model, params_sha256
from tcl_jax.parallel import DATA_AXIS, replicate, split_batch
from tcl_jax.train.state import VIEWS_STREAM, TrainState, stream_key
from tests.marks import slow
from tests.train.small import (
    HYPER,
    STEPS_PER_EPOCH,
    VIEWS,
    Parts,
    batch,
    largest_difference,
    parts_on,
    small_model,
)

pytestmark = pytest.mark.xdist_group("small")  # they share what is compiled


@jax.jit
@functools.partial(jax.value_and_grad, has_aux=True)
def reference_loss(params, batch_stats, images, labels):
    variables = {"params": params, "batch_stats": batch_stats}
    z, updated = small_model(None, jnp.float64).apply(variables, images, train=True, mutable=["batch_stats"])
    return losses.tcl_loss(z, labels, temperature=0.2, k1=50.0, k2=1.5), updated["batch_stats"]


def reference_step(state: TrainState, examples: Batch):
    """One step on one device, written out: the old state -> (params, batch_stats, momentum, loss)."""
    key = jax.random.fold_in(stream_key(HYPER.seed, VIEWS_STREAM), int(state.step) // STEPS_PER_EPOCH)
    images = VIEWS(key, examples.images, examples.indices)
    labels = np.tile(examples.labels, 2)
    (loss, batch_stats), gradients = reference_loss(state.params, state.batch_stats, images, labels)
    old = state.opt_state[1].trace
    momentum = jax.tree.map(lambda v, g, p: 0.9 * v + g + 1e-3 * p, old, gradients, state.params)
    params = jax.tree.map(lambda p, v: p - 0.05 * v, state.params, momentum)
    return params, batch_stats, momentum, loss


@pytest.mark.parametrize("devices", [1, 8])
def test_step_is_the_written_out_step_on_any_number_of_devices(devices):
    with jax.enable_x64(True):
        parts = parts_on(devices, param_dtype=jnp.float64)
        # So that momentum, statistics and the epoch are not those of the start.
        state, _ = parts.run(STEPS_PER_EPOCH)
        state = jax.tree.map(np.asarray, state)  # a copy: the step takes the original's memory
        expected = reference_step(state, batch(9))
        after, metrics = parts.step(replicate(state, parts.mesh), split_batch(batch(9), parts.mesh), HYPER)
    found = (after.params, after.batch_stats, after.opt_state[1].trace, metrics["loss"])
    assert after.step == STEPS_PER_EPOCH + 1
    for ours, reference in zip(found, expected, strict=True):
        # Hyper-parameters are float32: 0.05 itself differs from the 64-bit 0.05 by 1e-8.
        assert largest_difference(ours, reference) <= 1e-7
    if devices == 8:
        with jax.enable_x64(True):
            one, _ = parts_on(1, param_dtype=jnp.float64).run(STEPS_PER_EPOCH)
        assert largest_difference(one.params, state.params) <= 1e-9


@pytest.mark.parametrize("objective", ["tcl", *slow("cross_entropy")])  # test_objective.py has all of them
def test_losses_on_eight_devices_are_those_on_one(objective):
    _, one = parts_on(1, objective=objective).run(4)
    _, eight = parts_on(8, objective=objective).run(4)
    np.testing.assert_allclose(eight, one, rtol=1e-4)


@pytest.mark.slow
def test_without_synchronisation_the_statistics_are_each_devices_own_and_their_mean_is_kept():
    synchronised, _ = parts_on(8).run(1)
    own, _ = parts_on(8, sync_batch_norm=False).run(1)
    assert largest_difference(synchronised.params, own.params) > 100 * largest_difference(
        synchronised.params, parts_on(1).run(1)[0].params
    )
    # The first BatchNorm sees the same inputs: means of equal parts have the mean of the whole.
    mean = [state.batch_stats["encoder"]["bn1"]["mean"] for state in (synchronised, own)]
    np.testing.assert_allclose(*mean, rtol=1e-4, atol=1e-6)


def test_one_compilation_serves_all_hyper_parameters_and_nothing_goes_to_the_host():
    parts = Parts(8)
    state, first = parts.state(), split_batch(batch(), parts.mesh)
    settings = replicate([HYPER, HYPER._replace(learning_rate=np.float32(0.2), k1=np.float32(0))], parts.mesh)
    with jax.transfer_guard_device_to_host("disallow"):
        for hyper in settings * 2:
            state, _ = parts.step(state, first, hyper)
    assert parts.step._cache_size() == 1


def test_old_state_is_donated():
    parts = parts_on(8)
    state = parts.state()
    parts.step(state, split_batch(batch(), parts.mesh), HYPER)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def flat_with_a_steep_end(rows, labels):
    """0, with a gradient that is not finite."""
    return jnp.sqrt(0 * jnp.sum(rows))


def test_a_step_whose_gradient_alone_is_not_finite_is_skipped():
    parts = Parts(1, objective=f"{__name__}:flat_with_a_steep_end", skip_not_finite=True)
    before = jax.tree.map(np.array, parts.state())
    after, metrics = parts.step(parts.state(), split_batch(batch(), parts.mesh), HYPER)
    assert (float(metrics["loss"]), int(metrics["skipped"]), int(after.skipped)) == (0, 1, 1)
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)


@pytest.mark.slow
@pytest.mark.quick
def test_step_of_a_resnet_lowers_for_accelerators_on_eight_devices():
    model = make_model("resnet18", stem="cifar", width=4, projection_dim=8, axis_name=DATA_AXIS)
    parts = Parts(8, model=model)
    shapes = jax.eval_shape(parts.initial_state)
    replicated, split = (NamedSharding(parts.mesh, spec) for spec in (P(), P(DATA_AXIS)))
    arguments = [
        jax.tree.map(lambda x, at=sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), tree)
        for tree, sharding in ((shapes, replicated), (batch(), split), (HYPER, replicated))
    ]
    for platform in ("tpu", "cuda"):
        exported = jax.export.export(parts.step, platforms=[platform])(*arguments)
        assert exported.platforms == (platform,)
        assert exported.nr_devices == 8
        assert "all_gather" in exported.mlir_module()


def test_initial_state_is_a_function_of_the_seed():
    parts = Parts(1)
    states = [parts.initial_state(seed) for seed in (1, 1, 2)]
    hashes = [params_sha256(state.variables) for state in states]
    assert hashes[0] == hashes[1] != hashes[2]


def test_params_sha256_sees_every_bit_of_parameters_and_statistics():
    state = parts_on(1).state()
    before = params_sha256(state.variables)
    mean = state.batch_stats["encoder"]["bn1"]["mean"]
    state.batch_stats["encoder"]["bn1"]["mean"] = mean.at[0].set(
        np.nextafter(np.float32(mean[0]), np.float32(1))
    )
    assert params_sha256(state.variables) != before
    state.batch_stats["encoder"]["bn1"]["mean"] = mean
    assert params_sha256(state.variables) == before
