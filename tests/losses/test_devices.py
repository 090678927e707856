"""One batch on eight devices is one batch: values, and derivatives by everything, in every mapping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcl_jax import losses
from tests.losses import reference
from tests.losses.mappings import AXIS, DEVICES, MAPPINGS, gradient_over_devices
from tests.marks import slow

pytestmark = pytest.mark.xdist_group("losses_devices")  # they share what is compiled

N, INPUTS, WIDTH = 32, 7, 5


def encode(shared, x):
    z = jnp.tanh(x @ shared["kernel"])
    return z / jnp.linalg.norm(z, axis=1, keepdims=True)


def batch(seed=0):
    """A linear encoder's kernel and the coefficients (shared), inputs, labels, weights with zeros."""
    rng = np.random.default_rng(seed)
    shared = dict(kernel=rng.normal(size=(INPUTS, WIDTH)), temperature=0.3, k1=40.0, k2=1.5)
    labels = rng.integers(0, 6, N)
    labels[3] = 99  # an anchor without positives
    weights = rng.uniform(0.5, 2, N) * (rng.uniform(size=N) > 0.2)
    return jax.tree.map(jnp.asarray, (shared, rng.normal(size=(N, INPUTS)), labels, weights))


def whole_batch_loss(shared, x, labels, weights, axis_name=None):
    coefficients = {name: shared[name] for name in ("temperature", "k1", "k2")}
    return losses.tcl_loss(
        encode(shared, x), labels, weights=weights, axis_name=axis_name, block_size=3, **coefficients
    )


def rowwise_loss(shared, x, labels, weights, axis_name=None):
    """A reduction of the caller's own, by way of "none": every row has another cotangent."""
    coefficients = {name: shared[name] for name in ("temperature", "k1", "k2")}
    values = losses.tcl_loss(
        encode(shared, x), labels, weights=weights, axis_name=axis_name, reduction="none", **coefficients
    )
    return jnp.sum(values * jnp.sin(x[:, 0]))


def image_loss(shared, x, labels, weights, axis_name=None):
    """Local rows are [view 1 of mine; view 2 of mine]: the whole batch in that order, with the ids spelled out."""
    z = encode(shared, x)
    if axis_name is not None:
        return losses.ntxent_loss(z, temperature=shared["temperature"], axis_name=axis_name)
    images = N // DEVICES // 2
    ids = np.concatenate([np.tile(np.arange(images), 2) + device * images for device in range(DEVICES)])
    return losses.supcon_loss(z, ids, temperature=shared["temperature"])


# By everything shared and by the inputs, on one device: compiled once for all mappings.
of_the_mean, of_rows, of_images = (
    jax.jit(jax.value_and_grad(loss, argnums=(0, 1))) for loss in (whole_batch_loss, rowwise_loss, image_loss)
)


@pytest.mark.parametrize("mapping", [MAPPINGS[0], *slow(*MAPPINGS[1:])])
def test_mean_and_its_derivatives_are_those_of_the_whole_batch(mapping):
    with jax.enable_x64(True):
        arguments = batch()
        expected = of_the_mean(*arguments)
        value, by_shared, by_rows = gradient_over_devices(
            mapping, lambda *x: whole_batch_loss(*x, axis_name=AXIS)
        )(*arguments)
    assert float(value) == pytest.approx(float(expected[0]), rel=1e-12)
    for name, derivative in by_shared.items():
        assert reference.relative_error(derivative, expected[1][0][name]) <= 1e-10, name
    assert reference.relative_error(by_rows, expected[1][1]) <= 1e-10


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_none_and_its_derivatives_are_those_of_the_whole_batch(mapping):
    def local(*x):
        loss = rowwise_loss(*x, axis_name=AXIS)
        # Only shard_map knows that the sum over devices is one number; elsewhere each device differentiates its part.
        return jax.lax.psum(loss, AXIS) if mapping in ("shard_map", "shard_map_outside") else loss

    with jax.enable_x64(True):
        arguments = batch(1)
        _, expected = of_rows(*arguments)
        _, by_shared, by_rows = gradient_over_devices(mapping, local)(*arguments)
    for name, derivative in by_shared.items():
        assert reference.relative_error(derivative, expected[0][name]) <= 1e-10, name
    assert reference.relative_error(by_rows, expected[1]) <= 1e-10


def test_the_mean_over_split_batches_is_another_loss():
    with jax.enable_x64(True):
        shared, *rows = batch()
        whole, _ = of_the_mean(shared, *rows)
        loss_of_part = jax.jit(whole_batch_loss)
        parts = [
            loss_of_part(shared, *(x.reshape(DEVICES, N // DEVICES, -1)[i].squeeze() for x in rows))
            for i in range(DEVICES)
        ]
    assert abs(np.mean([float(part) for part in parts]) - float(whole)) > 0.1


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_ntxent_pairs_the_views_of_each_device(mapping):
    with jax.enable_x64(True):
        arguments = batch(2)
        expected, (by_kernel, _) = of_images(*arguments)
        value, by_shared, _ = gradient_over_devices(mapping, lambda *x: image_loss(*x, axis_name=AXIS))(
            *arguments
        )
    assert float(value) == pytest.approx(float(expected), rel=1e-12)
    assert reference.relative_error(by_shared["kernel"], by_kernel["kernel"]) <= 1e-10


@pytest.mark.slow
def test_plain_jit_over_a_sharded_array_needs_no_axis_name():
    mesh = jax.make_mesh((DEVICES,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
    with jax.enable_x64(True):
        shared, *rows = batch()
        _, (expected, _) = of_the_mean(shared, *rows)
        _, (gradient, _) = of_the_mean(shared, *jax.device_put(rows, sharded))
    assert reference.relative_error(gradient["kernel"], expected["kernel"]) <= 1e-12
