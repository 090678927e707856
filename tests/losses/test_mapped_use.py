"""Programs that users write around the losses: other mesh axes, each device's own rows, strict promotion of dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from tcl_jax import losses
from tests.losses import reference
from tests.losses.mappings import AXIS, DEVICES
from tests.marks import slow


def rows(n=32):
    z, labels, _, _ = reference.random_case(21, n=n)
    return jnp.asarray(z, jnp.float32), jnp.asarray(labels)


@pytest.mark.parametrize("block_size", [2, *slow(None)])
def test_each_device_may_have_a_loss_of_its_own_rows(block_size):
    mesh = jax.make_mesh((DEVICES,), (AXIS,), axis_types=(AxisType.Auto,))
    z, labels = rows()

    def own(temperature, z, labels):
        return jax.lax.pmean(
            losses.supcon_loss(z, labels, temperature=temperature, block_size=block_size), AXIS
        )

    mapped = jax.shard_map(own, mesh=mesh, in_specs=(P(), P(AXIS), P(AXIS)), out_specs=P())
    value, gradients = jax.jit(jax.value_and_grad(mapped, argnums=(0, 1)))(jnp.float32(0.2), z, labels)

    def separately(temperature, z):
        parts = zip(jnp.split(z, DEVICES), jnp.split(labels, DEVICES), strict=True)
        return sum(losses.supcon_loss(*part, temperature=temperature, block_size=None) for part in parts) / 8

    expected, expected_gradients = jax.value_and_grad(separately, argnums=(0, 1))(jnp.float32(0.2), z)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert reference.relative_error(ours, theirs) <= 1e-5


@pytest.mark.parametrize("block_size", [4, *slow(None)])
def test_a_second_mesh_axis_may_hold_a_sweep(block_size):
    mesh = jax.make_mesh((2, 4), ("sweep", AXIS), axis_types=(AxisType.Auto,) * 2)
    z, labels = rows()
    temperatures = jnp.array([0.1, 0.5])

    def local(temperature, z, labels):
        loss = losses.tcl_loss(
            z, labels, temperature=temperature[0], k1=5.0, axis_name=AXIS, block_size=block_size
        )
        return loss[None]

    mapped = jax.shard_map(local, mesh=mesh, in_specs=(P("sweep"), P(AXIS), P(AXIS)), out_specs=P("sweep"))
    by_temperature, by_z = jax.jit(jax.grad(lambda t, z: jnp.sum(mapped(t, z, labels)), argnums=(0, 1)))(
        temperatures, z
    )

    def separately(temperatures, z):
        return sum(losses.tcl_loss(z, labels, temperature=t, k1=5.0, block_size=None) for t in temperatures)

    expected = jax.grad(separately, argnums=(0, 1))(temperatures, z)
    np.testing.assert_allclose(by_temperature, expected[0], rtol=1e-4)
    assert reference.relative_error(by_z, expected[1]) <= 1e-5


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_strict_promotion_of_dtypes(dtype):
    z, labels = rows()
    with jax.numpy_dtype_promotion("strict"):
        value, gradient = jax.eval_shape(
            jax.value_and_grad(lambda z: losses.tcl_loss(z, labels, block_size=8)), z.astype(dtype)
        )
        found = jax.eval_shape(lambda z: losses.diagnostics(z, labels, block_size=8), z.astype(dtype))
    assert {value.dtype, *(x.dtype for x in found)} == {jnp.dtype("float32")}
    assert gradient.dtype == dtype
