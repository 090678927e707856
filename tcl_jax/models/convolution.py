"""A convolution like XLA's, whose gradients, and value for few channels, are computed in another form on CPUs."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# All measured on CPUs. From this number of inputs (or outputs, of the form by columns) on they are faster than XLA's.
_LEAST_SIZE = 2**20
# Half the numbers of a vector register: a product with as few columns leaves most of it idle.
_FEW_CHANNELS = 8
_COLUMNS = 4  # of outputs, which few channels are computed for at a time
_PATCHES_AT_A_TIME = 2**19  # numbers that stay in the caches of two cores


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
    the kernel for a convolution whose window is the whole image, and transposes its operands for it; it is a product
    of cotangents and patches here, some images at a time. And where at most 8 channels become at most 8, so that XLA's
    products are narrow, four neighbouring outputs are the features of one wider window that moves by four columns:
    twice the operations in half the time. Small batches, and other platforms, run XLA's own program.

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


def _by_shape(
    images: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    precision: lax.PrecisionLike,
) -> jax.Array:
    of_xla = partial(_by_xla, strides=strides, padding=padding, precision=precision)
    if not _suits_columns(images, kernel, strides, padding):
        return of_xla(images, kernel)
    by_columns = partial(_by_columns, padding=padding, precision=precision)
    return lax.platform_dependent(images, kernel, cpu=by_columns, default=of_xla)


def _suits_columns(
    images: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: tuple[tuple[int, int], ...]
) -> bool:
    _, size, *channels = kernel.shape
    columns = images.shape[2] + sum(padding[1]) - size + 1
    narrow = max(channels) <= _FEW_CHANNELS and size > 1 and set(strides) == {1} and columns % _COLUMNS == 0
    return narrow and _is_large((*images.shape[:3], max(channels)))


def _is_large(shape: tuple[Any, ...]) -> bool:
    """Not where the number of images is a symbol, as in a program for any of them."""
    return all(isinstance(size, int) for size in shape) and math.prod(shape) >= _LEAST_SIZE


def _by_columns(
    images: jax.Array,
    kernel: jax.Array,
    *,
    padding: tuple[tuple[int, int], ...],
    precision: lax.PrecisionLike,
) -> jax.Array:
    kernels = [
        jnp.pad(kernel, ((0, 0), (column, _COLUMNS - 1 - column), (0, 0), (0, 0)))
        for column in range(_COLUMNS)
    ]
    together = _by_xla(images, jnp.concatenate(kernels, axis=-1), (1, _COLUMNS), padding, precision)
    return together.reshape(*together.shape[:2], -1, kernel.shape[-1])


_convolve = jax.custom_vjp(_by_shape, nondiff_argnums=(2, 3, 4))


def _forward(images, kernel, *settings):
    return _by_shape(images, kernel, *settings), (images, kernel)


def _backward(strides, padding, precision, kept, cotangent):
    images, kernel = kept
    settings = (strides, padding, precision)
    of_kernel = partial(_kernel_gradient_of_xla, settings=settings)
    if _is_large(images.shape):
        by_products = partial(_kernel_gradient_by_products, settings=settings)
        of_kernel = partial(lax.platform_dependent, cpu=by_products, default=of_kernel)
    return _image_gradient(images, kernel, cotangent, settings), of_kernel(images, kernel, cotangent)


def _image_gradient(images, kernel, cotangent, settings):
    strides, padding, precision = settings
    around = tuple(
        (size - 1 - low, size - 1 - high) for size, (low, high) in zip(kernel.shape[:2], padding, strict=True)
    )

    def of_xla(cotangent, kernel):
        return jax.linear_transpose(lambda images: _by_xla(images, kernel, *settings), images)(cotangent)[0]

    def by_columns(cotangent, kernel):
        turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        return _by_columns(cotangent, turned, padding=around, precision=precision)

    if not _suits_columns(cotangent, kernel, strides, around):
        return of_xla(cotangent, kernel)
    return lax.platform_dependent(cotangent, kernel, cpu=by_columns, default=of_xla)


_convolve.defvjp(_forward, _backward)


def _kernel_gradient_of_xla(images, kernel, cotangent, *, settings):
    of_kernel = jax.linear_transpose(lambda kernel: _by_xla(images, kernel, *settings), kernel)
    return of_kernel(cotangent)[0]


def _kernel_gradient_by_products(images, kernel, cotangent, *, settings):
    (down, across), padding, precision = settings
    size, _, channels, features = kernel.shape
    rows, columns = cotangent.shape[1:3]
    dtype = jnp.promote_types(kernel.dtype, jnp.float32)

    def products(images, cotangent):
        images = jnp.pad(images, ((0, 0), *padding, (0, 0)))
        # The columns of a patch beside each other, so that each of its rows is one product.
        patches = jnp.concatenate(
            [images[:, :, v : v + (columns - 1) * across + 1 : across] for v in range(size)], axis=-1
        )
        parts = [patches[:, u : u + (rows - 1) * down + 1 : down] for u in range(size)]
        if channels <= _FEW_CHANNELS:
            parts = [jnp.concatenate(parts, axis=-1)]
        # XLA transposes the operand on the left. Cotangents are the smaller one.
        cotangent = cotangent.reshape(-1, features)
        return [
            lax.dot_general(
                cotangent,
                part.reshape(-1, part.shape[-1]),
                (((0,), (0,)), ((), ())),
                precision=precision,
                preferred_element_type=dtype,
            )
            for part in parts
        ]

    def add_some(totals, some):
        return jax.tree.map(jnp.add, totals, products(*some)), None

    most = max(1, _PATCHES_AT_A_TIME // math.prod((images.shape[1], columns, size, channels)))
    count = max(n for n in range(1, most + 1) if len(images) % n == 0)
    some = tuple(x.reshape(-1, count, *x.shape[1:]) for x in (images, cotangent))
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(products, *(x[0] for x in some)))
    totals, _ = lax.scan(add_some, zeros, some)
    return jnp.concatenate(totals, axis=1).T.reshape(kernel.shape).astype(kernel.dtype)
