"""The convolution's gradients: XLA's own to rounding, on every shape, in every dtype and over devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from tcl_jax.models import convolution
from tcl_jax.models.convolution import convolve
from tcl_jax.parallel import DATA_AXIS, make_mesh

# images, rows, columns, channels, kernel size, stride, padding: one batch that is divided in parts, one with no divisor
# but 1; rows of patches one by one; outputs, and those of the images' gradient, by four columns, also of cut cotangents
CASES = [
    (40, 5, 7, 3, 3, 1, 1),
    (17, 6, 5, 9, 3, 2, 1),
    (8, 5, 4, 9, 3, 1, 1),
    (4, 5, 4, 3, 1, 2, 0),
    (3, 9, 8, 3, 7, 2, 3),
    (1, 4, 4, 3, 3, 1, 1),
    (6, 3, 8, 8, 3, 1, 1),
    (2, 7, 6, 3, 3, 1, 0),
    (3, 4, 4, 3, 3, 1, 3),
    (3, 5, 4, 3, 5, 1, 2),
    (3, 5, 7, 3, 2, 1, 1),
    (3, 5, 4, 3, 1, 1, 0),
]


@pytest.fixture(autouse=True)
def any_size_and_some_parts(monkeypatch):
    monkeypatch.setattr(convolution, "_LEAST_SIZE", 0)
    monkeypatch.setattr(convolution, "_PATCHES_AT_A_TIME", 4000)


def plain(images, kernel, stride, padding):
    return lax.conv_general_dilated(
        images, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def ours(images, kernel, stride, padding):
    return convolve(images, kernel, (stride, stride), [(padding, padding)] * 2)


def drawn(number, rows, columns, size, dtype=np.float64, channels=3):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(number, rows, columns, channels))
    return jnp.asarray(images, dtype), jnp.asarray(rng.normal(size=(size, size, channels, 2)), dtype)


def loss(conv, images, kernel, *settings):
    """Every output has a cotangent of its own."""
    y = conv(images, kernel, *settings).astype(jnp.promote_types(kernel.dtype, jnp.float32))
    return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape) / y.size)


@pytest.mark.quick
@pytest.mark.parametrize(("number", "rows", "columns", "channels", "size", "stride", "padding"), CASES)
def test_value_and_gradients_are_those_of_xla(number, rows, columns, channels, size, stride, padding) -> None:
    with jax.enable_x64(True):
        arrays = drawn(number, rows, columns, size, channels=channels)
        found, expected = (
            jax.jit(
                jax.value_and_grad(lambda *a, conv=conv: loss(conv, *a, stride, padding), argnums=(0, 1))
            )(*arrays)
            for conv in (ours, plain)
        )
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def test_bfloat16_is_summed_in_float32() -> None:
    images, kernel = drawn(2048, 3, 3, 3, jnp.bfloat16)
    gradient = jax.jit(jax.grad(lambda k: loss(ours, images, k, 1, 1)))(kernel)
    exact = jax.grad(lambda k: loss(plain, images.astype(jnp.float32), k, 1, 1))(kernel.astype(jnp.float32))
    assert gradient.dtype == jnp.bfloat16
    # The cotangents have 8 bits, and so has the result. Sums of 8 bits over 128 parts would be off by 0.03.
    np.testing.assert_allclose(gradient.astype(np.float32), exact, rtol=0, atol=0.006 * np.abs(exact).max())


@pytest.mark.quick
def test_devices_add_up_the_gradient_of_a_kernel_that_they_share() -> None:
    with jax.enable_x64(True):
        images, kernel = drawn(24, 5, 5, 3)
        weights = jnp.arange(1.0, 25)

        def total(kernel, images, weights):
            return jnp.sum(jnp.sin(ours(images, kernel, 1, 1)) * weights[:, None, None, None])

        def of_device(kernel, images, weights):
            return jax.grad(lambda k: lax.psum(total(k, images, weights), DATA_AXIS))(kernel)

        mapped = jax.shard_map(
            of_device, mesh=make_mesh(), in_specs=(P(), P(DATA_AXIS), P(DATA_AXIS)), out_specs=P()
        )
        expected = jax.grad(total)(kernel, images, weights)
        np.testing.assert_allclose(jax.jit(mapped)(kernel, images, weights), expected, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.quick
def test_members_of_a_sweep_have_the_gradients_that_each_has_alone() -> None:
    with jax.enable_x64(True):
        images, kernel = drawn(6, 4, 8, 3)
        members = jnp.stack([images, images[::-1]]), jnp.stack([kernel, 2 * kernel])
        gradient = jax.grad(lambda *arrays: loss(ours, *arrays, 1, 1), argnums=(0, 1))
        found = jax.jit(jax.vmap(gradient))(*members)
        for member in range(2):
            expected = gradient(*(array[member] for array in members))
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one[member], other, rtol=1e-11, atol=1e-11)


def operations(conv, arrays, platform):
    """How often they are in the program for a platform."""
    gradient = jax.jit(jax.grad(partial(loss, conv), argnums=(0, 1)), static_argnums=(2, 3))
    text = gradient.trace(*arrays, 1, 1).lower(lowering_platforms=(platform,)).as_text()
    return {name: text.count(f"stablehlo.{name}") for name in ("convolution", "while", "dot_general")}


@pytest.mark.quick
def test_other_platforms_run_the_program_of_xla() -> None:
    arrays = drawn(32, 8, 8, 3, np.float32)
    for platform in ("cuda", "tpu"):
        assert operations(ours, arrays, platform) == operations(plain, arrays, platform)
    assert operations(ours, arrays, "cpu") == {"convolution": 2, "while": 1, "dot_general": 1}


def test_few_channels_take_whole_patches_and_four_columns_on_a_cpu() -> None:
    for channels, products in ((3, 1), (9, 3)):
        arrays = drawn(32, 8, 8, 3, np.float32, channels=channels)
        assert operations(ours, arrays, "cpu")["dot_general"] == products
        text = jax.jit(ours, static_argnums=(2, 3)).trace(*arrays, 1, 1).lower().as_text()
        assert ("stride = [1, 4]" in text) == (channels == 3)


def test_small_batches_run_the_program_of_xla(monkeypatch) -> None:
    monkeypatch.setattr(convolution, "_LEAST_SIZE", 32 * 8 * 8 * 3 + 1)
    arrays = drawn(32, 8, 8, 3, np.float32)
    assert operations(ours, arrays, "cpu") == operations(plain, arrays, "cpu")


def test_groups_and_dilation_are_refused() -> None:
    images, kernel = drawn(2, 4, 4, 3, np.float32)
    for setting in (dict(feature_group_count=3), dict(rhs_dilation=(2, 2))):
        with pytest.raises(ValueError, match=f"convolve takes no {next(iter(setting))}"):
            convolve(images, kernel, (1, 1), [(1, 1)] * 2, **setting)
