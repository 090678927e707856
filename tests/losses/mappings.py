"""The ways in which a user splits a batch over eight devices."""

import jax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

DEVICES = 8
AXIS = "data"
MAPPINGS = ("shard_map", "shard_map_outside", "shard_map_unchecked", "pmap")


def gradient_over_devices(mapping, loss):
    """Value and gradients of `loss(shared, rows...)` with rows split over eight devices.

    `loss` sees this device's rows and returns a scalar that is the same on every device. The gradient by `shared` is
    summed over devices by autodiff under "shard_map", also of the mapped function from outside, and by psum, as the
    documentation asks, in the other two.
    Returns value, gradient by shared, gradient by the first array of rows, joined in the order of the devices.
    """

    def local(shared, *rows):
        return jax.value_and_grad(loss, argnums=(0, 1))(shared, *rows)

    def local_and_psum(shared, *rows):
        value, (by_shared, by_rows) = local(shared, *rows)
        return value, (jax.lax.psum(by_shared, AXIS), by_rows)

    if mapping == "pmap":

        def run(shared, *rows):
            mapped = jax.pmap(local_and_psum, axis_name=AXIS, in_axes=(None,) + (0,) * len(rows))
            split = [x.reshape(DEVICES, x.shape[0] // DEVICES, *x.shape[1:]) for x in rows]
            value, (by_shared, by_rows) = mapped(shared, *split)
            first = jax.tree.map(lambda x: x[0], (value, by_shared))
            return first[0], first[1], by_rows.reshape(rows[0].shape)

        return run

    checked = mapping == "shard_map"
    mesh = jax.make_mesh((DEVICES,), (AXIS,), axis_types=(AxisType.Auto,))

    if mapping == "shard_map_outside":

        def run(shared, *rows):
            mapped = jax.shard_map(loss, mesh=mesh, in_specs=(P(), *[P(AXIS)] * len(rows)), out_specs=P())
            value, gradients = jax.jit(jax.value_and_grad(mapped, argnums=(0, 1)))(shared, *rows)
            return value, *gradients

        return run

    def run(shared, *rows):
        mapped = jax.jit(
            jax.shard_map(
                local if checked else local_and_psum,
                mesh=mesh,
                in_specs=(P(), *[P(AXIS)] * len(rows)),
                out_specs=(P(), (P(), P(AXIS))),
                check_vma=checked,
            )
        )
        value, (by_shared, by_rows) = mapped(shared, *rows)
        return value, by_shared, by_rows

    return run
