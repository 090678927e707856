"""A convolution like XLA's, but for the gradient of its kernel, which on CPUs is computed as matrix products."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# Both measured on two cores. From this number on the products are faster, below it XLA's gradient is.
_LEAST_SIZE = 2**20
_IMAGES_AT_A_TIME = 16  # whose patches stay in a core's cache


def convolve(
    images: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    *,
    precision: lax.PrecisionLike = None,
    **plain: Any,
) -> jax.Array:
    """A two-dimensional convolution without dilation and groups, to be given to `flax.linen.Conv`.

        y[b, i, j, o] = sum_(u, v, c) x[b, s i + u - p, s j + v - p, c] k[u, v, c, o]

    Value and gradients are those of `jax.lax.conv_general_dilated` up to rounding. On a CPU XLA takes the gradient of
    the kernel for a convolution whose window is the whole image, and transposes its operands for it. For large batches
    it is a product of patches and cotangents here, some images at a time. Small ones, and other platforms, run the
    program of XLA's own gradient.

    Args:
      images: float [b, h, w, c].
      kernel: [size, size, c, o], of the images' dtype.
      strides: of rows and columns.
      padding: pixels of zeros before and after rows and columns.
      precision: of the products.
      plain: what Flax also passes on; nothing else than its defaults.

    Returns:
      [b, h', w', o].

    Raises:
      ValueError: dilation or groups.
    """
    for name, value in plain.items():
        if name == "dimension_numbers":
            continue  # Flax has no other than these
        if set(value if isinstance(value, tuple) else (value,)) != {1}:
            raise ValueError(f"convolve takes no {name}, got {value}: use jax.lax.conv_general_dilated.")
    # Under shard_map a kernel that all devices share must vary over them as the images do, before the gradient of our
    # own: then autodiff adds up what each device finds.
    kernel = kernel + jnp.zeros_like(images[0, 0, 0, 0])
    return _convolve(images, kernel, tuple(strides), tuple(padding), precision)


def _by_xla(
    images: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    precision: lax.PrecisionLike,
) -> jax.Array:
    return lax.conv_general_dilated(
        images, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=precision
    )


_convolve = jax.custom_vjp(_by_xla, nondiff_argnums=(2, 3, 4))


def _forward(images, kernel, *settings):
    return _by_xla(images, kernel, *settings), (images, kernel)


def _backward(strides, padding, precision, kept, cotangent):
    images, kernel = kept
    settings = (strides, padding, precision)
    of_images = jax.linear_transpose(lambda images: _by_xla(images, kernel, *settings), images)
    of_kernel = partial(_kernel_gradient_of_xla, settings=settings)
    if images.size < _LEAST_SIZE:
        return *of_images(cotangent), of_kernel(images, kernel, cotangent)
    by_products = partial(_kernel_gradient_by_products, settings=settings)
    return *of_images(cotangent), lax.platform_dependent(
        images, kernel, cotangent, cpu=by_products, default=of_kernel
    )


_convolve.defvjp(_forward, _backward)


def _kernel_gradient_of_xla(images, kernel, cotangent, *, settings):
    of_kernel = jax.linear_transpose(lambda kernel: _by_xla(images, kernel, *settings), kernel)
    return of_kernel(cotangent)[0]


def _kernel_gradient_by_products(images, kernel, cotangent, *, settings):
    (down, across), padding, precision = settings
    size, _, channels, features = kernel.shape
    rows, columns = cotangent.shape[1:3]
    dtype = jnp.promote_types(kernel.dtype, jnp.float32)

    def add_some(total, some):
        images, cotangent = some
        images = jnp.pad(images, ((0, 0), *padding, (0, 0)))
        # The columns of a patch beside each other, so that each of its rows is one product.
        patches = jnp.concatenate(
            [images[:, :, v : v + (columns - 1) * across + 1 : across] for v in range(size)], axis=-1
        )
        cotangent = cotangent.reshape(-1, features)  # XLA multiplies matrices without transposing them
        products = [
            lax.dot_general(
                patches[:, u : u + (rows - 1) * down + 1 : down].reshape(-1, size * channels),
                cotangent,
                (((0,), (0,)), ((), ())),
                precision=precision,
                preferred_element_type=dtype,
            )
            for u in range(size)
        ]
        return total + jnp.stack(products).reshape(kernel.shape), None

    count = max(n for n in range(1, _IMAGES_AT_A_TIME + 1) if len(images) % n == 0)
    parts = [x.reshape(-1, count, *x.shape[1:]) for x in (images, cotangent)]
    total, _ = lax.scan(add_some, jnp.zeros_like(kernel, dtype=dtype), tuple(parts))
    return total.astype(kernel.dtype)
