"""The tiles change nothing but memory: values, gradients, extremes and compilations at any tile size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from tcl_jax import losses
from tcl_jax.losses.tiles import make_layout, padded
from tests.losses import reference
from tests.losses.mappings import AXIS, DEVICES, gradient_over_devices
from tests.marks import slow

pytestmark = pytest.mark.xdist_group("tiles")  # they share what is compiled

MEGABYTE = 2**20

# Of the mean and the gradients against the dense form in 64-bit, for the same rounded rows.
BOUNDS = {
    "float64": (1e-14, 1e-12),
    "float32": (2e-6, 1e-5),
    "bfloat16": (2e-6, 4e-3),
    "float16": (2e-6, 5e-4),
}


@functools.partial(jax.jit, static_argnames=("block_size", "reduction"))
def value_and_gradients(z, labels, weights, coefficients, *, block_size, reduction="mean"):
    def loss(z, weights, coefficients):
        values = losses.tcl_loss(
            z, labels, weights=weights, block_size=block_size, reduction=reduction, **coefficients
        )
        return jnp.sum(jnp.cos(jnp.arange(values.size, dtype=values.dtype)) * values.reshape(-1))

    return jax.value_and_grad(loss, argnums=(0, 1, 2))(z, weights, coefficients)


def case(seed=0, n=75, classes=9):
    z, labels, weights, coefficients = reference.random_case(seed, n=n, d=8, classes=classes)
    return z, labels, weights, coefficients | {"k1": 30.0}


MEANS = [(74, "float64", "mean"), *slow((1, "float64", "mean"), *((16, dtype, "mean") for dtype in BOUNDS))]
ROWWISE = [*slow((74, "float64", "none")), (16, "bfloat16", "none")]  # with padding, and rounded


@pytest.mark.parametrize(("block_size", "dtype", "reduction"), MEANS + ROWWISE)
def test_any_tile_size_gives_the_dense_form(block_size, dtype, reduction):
    z, labels, weights, coefficients = case()
    with jax.enable_x64(True):
        rounded = jnp.asarray(z, dtype)
        dense = value_and_gradients(
            rounded.astype("float64"),
            labels,
            jnp.asarray(weights),
            jax.tree.map(jnp.asarray, coefficients),
            block_size=None,
            reduction=reduction,
        )
        compute = jnp.promote_types(dtype, jnp.float32)
        tiled = value_and_gradients(
            rounded,
            labels,
            jnp.asarray(weights, compute),
            jax.tree.map(lambda x: jnp.asarray(x, compute), coefficients),
            block_size=block_size,
            reduction=reduction,
        )
    of_value, of_gradient = BOUNDS[dtype]
    assert tiled[0].dtype == compute
    assert reference.relative_error(tiled[0], dense[0]) <= of_value
    assert tiled[1][0].dtype == dtype
    assert reference.relative_error(tiled[1][0], dense[1][0]) <= of_gradient
    for actual, expected in zip(jax.tree.leaves(tiled[1][1:]), jax.tree.leaves(dense[1][1:]), strict=True):
        if np.any(expected):  # "none" has no derivative by weights
            assert reference.relative_error(actual, expected) <= max(of_gradient, 1e-5 * (dtype != "float64"))


@pytest.mark.parametrize("classes", [1, 2, 75])
def test_any_number_of_classes(classes):
    z, _, _, coefficients = case(1)
    labels, weights = np.arange(75) % classes, np.ones(75)
    with jax.enable_x64(True):
        arguments = jnp.asarray(z), labels, jnp.asarray(weights), jax.tree.map(jnp.asarray, coefficients)
        dense, tiled = (value_and_gradients(*arguments, block_size=size) for size in (None, 16))
    for actual, expected in zip(jax.tree.leaves(tiled), jax.tree.leaves(dense), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-15)


ROWS = {
    "identical": np.tile(np.eye(8)[:1], (8, 1)),
    "antipodal": np.tile(np.eye(8)[:1], (8, 1)) * np.resize([1.0, -1.0], (8, 1)),
    "orthogonal": np.eye(8),
    "mixed": np.concatenate([np.eye(8)[:4], -np.eye(8)[:4]]),
}
LABELS = ([0] * 8, [0, 0, 0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 2, 2, 3, 4], list(range(8)))


@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.parametrize("k1", [0.0, 1e6])
@pytest.mark.parametrize("k2", [0.0, 1.0])
@pytest.mark.parametrize("temperature", [0.01, 10.0])
def test_extremes_stay_finite_and_right_in_float32(temperature, k1, k2, block_size):
    coefficients = dict(temperature=temperature, k1=k1, k2=k2)
    numbers = jax.tree.map(jnp.float32, coefficients)
    for rows in ROWS.values():
        for labels in LABELS:
            for weights in (np.ones(8), np.array([1, 0, 1, 1, 1, 0, 1, 1]), np.zeros(8)):
                value, gradients = value_and_gradients(
                    jnp.asarray(rows, jnp.float32),
                    jnp.asarray(labels),
                    jnp.asarray(weights, jnp.float32),
                    numbers,
                    block_size=block_size,
                )
                assert np.isfinite(value)
                assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradients))
                case = rows, np.asarray(labels), weights
                if not np.any(reference.anchor_losses(*case, **coefficients)[1]):
                    assert value == 0
                    continue
                expected = reference.mean_loss(*case, **coefficients)
                assert float(value) == pytest.approx(float(expected), rel=2e-6, abs=2e-5)
                if temperature == 10.0:  # at 0.01 the reference, unshifted, rounds more than we do
                    closed = reference.closed_form_gradient(*case, **coefficients)
                    np.testing.assert_allclose(gradients[0], closed, atol=1e-6)


@pytest.mark.parametrize("block_size", [5, *slow(10, 40)])
def test_any_tile_size_on_eight_devices(block_size):
    """72 rows, 9 on each device: tiles of half of them and padding, of those of one device, of those of four.

    Other mappings are in test_family.py.
    """
    z, labels, weights, coefficients = case(2, n=72)
    sizes = {5: 5, 10: 9, 40: 36}
    for size, expected in sizes.items():
        assert make_layout(padded(9, size), padded(9, size), DEVICES, size).column_size == expected

    def loss(coefficients, z, labels, weights):
        return losses.tcl_loss(
            z, labels, weights=weights, axis_name=AXIS, block_size=block_size, **coefficients
        )

    with jax.enable_x64(True):
        arguments = jnp.asarray(z), jnp.asarray(labels), jnp.asarray(weights)
        coefficients = jax.tree.map(jnp.asarray, coefficients)
        value, by_coefficients, by_rows = gradient_over_devices("shard_map", loss)(coefficients, *arguments)
        dense, (by_z, _, expected) = value_and_gradients(*arguments, coefficients, block_size=None)
    assert float(value) == pytest.approx(float(dense), rel=1e-13)
    assert reference.relative_error(by_rows, by_z) <= 1e-12
    for name, derivative in by_coefficients.items():
        assert float(derivative) == pytest.approx(float(expected[name]), rel=1e-10), name


@pytest.mark.slow
def test_a_mesh_of_one_device_takes_the_same_steps_as_no_mesh():
    z, labels, weights, coefficients = case(4)
    mesh = jax.make_mesh((1,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])

    def gradient(z, axis_name=None):
        return jax.grad(
            lambda z: losses.tcl_loss(
                z, labels, weights=weights, axis_name=axis_name, block_size=8, **coefficients
            )
        )(z)

    on_mesh = jax.shard_map(
        functools.partial(gradient, axis_name=AXIS), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)
    )
    z = jnp.asarray(z, jnp.float32)
    split, alone = (jax.jit(f).lower(z).compile() for f in (on_mesh, gradient))
    cost, cost_alone = (compiled.cost_analysis()["flops"] for compiled in (split, alone))
    assert cost == pytest.approx(cost_alone, rel=0.05)  # of a tile: without mirroring it has one product less
    np.testing.assert_allclose(split(z), alone(z), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("count", [1, 7, 511, 512, 513, 1500, 65536])
@pytest.mark.parametrize("num_devices", [1, 2, 8])
def test_tiles_cover_the_batch_with_little_padding(count, num_devices):
    rows = padded(count, 512)
    layout = make_layout(rows, rows, num_devices, 512)
    blocks = layout.rows // layout.row_size
    assert layout.row_size * blocks == layout.rows
    assert layout.columns == layout.rows * num_devices
    assert layout.columns % layout.column_size == 0
    assert layout.row_size <= 512
    assert layout.column_size <= 512
    assert count <= layout.rows < count + blocks


@functools.cache
def memory(n, mapping=None, **options):
    """Bytes that the compiled gradient needs beside its arguments, on each device; nothing is run."""

    def gradient(z, labels):
        return jax.value_and_grad(lambda z: losses.tcl_loss(z, labels, **options))(z)

    if mapping is not None:
        mesh = jax.make_mesh((DEVICES,), (AXIS,), axis_types=(AxisType.Auto,))
        gradient = jax.shard_map(gradient, mesh=mesh, in_specs=P(AXIS), out_specs=(P(), P(AXIS)))
    shapes = jax.ShapeDtypeStruct((n, 128), jnp.float32), jax.ShapeDtypeStruct((n,), jnp.int32)
    analysis = jax.jit(gradient).lower(*shapes).compile().memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


@pytest.mark.slow
def test_memory_grows_linearly_and_stays_small_at_65536_rows():
    small, large, larger = (memory(n) for n in (16384, 32768, 65536))
    assert larger < 300 * MEGABYTE
    assert larger - large <= 2.2 * (large - small)
    assert memory(2048, block_size=None) > 3 * 2048**2 * 4  # the measure sees what a dense form takes


def test_memory_on_each_of_eight_devices_is_a_share():
    alone, shared = memory(65536), memory(65536, "shard_map", axis_name=AXIS)
    assert shared < 0.75 * alone  # every device holds all rows, once: 32 MB of it


def test_one_compilation_for_each_shape():
    traced = []

    @jax.jit
    def gradient(z, labels, coefficients):
        traced.append(1)
        return jax.grad(lambda z: losses.tcl_loss(z, labels, block_size=8, **coefficients))(z)

    for n in (20, 20, 30, 20):
        for temperature in (0.1, 0.2):
            z, labels, _, _ = case(n=n)
            numbers = jax.tree.map(jnp.float32, dict(temperature=temperature, k1=0.0, k2=1.0))
            gradient.trace(jnp.asarray(z, jnp.float32), jnp.asarray(labels), numbers)
    assert len(traced) == 2


@pytest.mark.parametrize("sweep", [jax.vmap, lambda f: lambda x: jax.lax.map(f, x)], ids=["vmap", "lax_map"])
def test_sweeps_over_coefficients_are_the_single_losses(sweep):
    z, labels, weights, _ = case(3)
    with jax.enable_x64(True):
        grid = dict(
            temperature=jnp.array([0.07, 0.3, 1.0]),
            k1=jnp.array([0.0, 9.0, 5e3]),
            k2=jnp.array([1.0, 0.0, 2]),
        )
        one = functools.partial(
            value_and_gradients, jnp.asarray(z), labels, jnp.asarray(weights), block_size=16
        )
        swept = jax.jit(sweep(one))(grid)
        for i in range(3):
            single = one(jax.tree.map(lambda x, i=i: x[i], grid))
            for together, alone in zip(jax.tree.leaves(swept), jax.tree.leaves(single), strict=True):
                np.testing.assert_allclose(together[i], alone, rtol=1e-10, atol=1e-14)
