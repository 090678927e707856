"""What networks share: the layers that ViT and ConvNeXt are made of, the precision of all, and the sizes of stems."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

SMALLEST_SIDE = {"cifar": 8, "imagenet": 32}
"""Side of the smallest image by stem, in pixels: the one of which the last of four stages sees a single pixel."""

_normal = nn.initializers.normal(0.02)  # timm's trunc_normal_ cuts at +-2, which is 100 standard deviations


@dataclasses.dataclass(frozen=True)
class Layers:
    """Layers by their numbers of features.

    Attributes:
      train: whether anything is dropped.
      dropout: the probability with which `drop` leaves out a number.
      dtype: what is computed in; None is `param_dtype`.
      param_dtype: dtype of parameters.
    """

    train: bool
    dropout: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    def dense(self, x: jax.Array, features: int, *, name: str) -> jax.Array:
        """A linear layer over the last axis."""
        return nn.Dense(
            features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=precision_of(self.dtype),
            kernel_init=_normal,
            name=name,
        )(x)

    def conv(
        self,
        x: jax.Array,
        features: int,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        kernel_init: jax.nn.initializers.Initializer = _normal,
        name: str,
    ) -> jax.Array:
        """A `size` x `size` convolution with bias."""
        return nn.Conv(
            features,
            (size, size),
            strides=(stride, stride),
            padding=((padding, padding),) * 2,
            feature_group_count=groups,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=precision_of(self.dtype),
            kernel_init=kernel_init,
            name=name,
        )(x)

    def layer_norm(self, x: jax.Array, *, name: str) -> jax.Array:
        """LayerNorm over the last axis, computed in at least float32, returned in the dtype of `x`."""
        dtype = jnp.promote_types(self.param_dtype, jnp.float32)
        normalized = nn.LayerNorm(
            epsilon=1e-6, dtype=dtype, param_dtype=dtype, use_fast_variance=False, name=name
        )(x)
        return normalized.astype(x.dtype)

    def drop(self, x: jax.Array) -> jax.Array:
        """Dropout, of single numbers."""
        return nn.Dropout(self.dropout)(x, deterministic=not self.train) if self.dropout else x

    def drop_path(self, x: jax.Array, rate: float) -> jax.Array:
        """Stochastic depth: the whole branch `x` of an example is left out with probability `rate`.

        Source: Huang et al., Deep Networks with Stochastic Depth, arXiv 1603.09382.
        """
        rows = tuple(range(1, x.ndim))
        return nn.Dropout(rate, broadcast_dims=rows)(x, deterministic=not self.train) if rate else x


def precision_of(dtype: DTypeLike) -> jax.lax.Precision:
    """HIGHEST above 16 bits, where GPUs would otherwise round to TF32 and TPUs to bfloat16."""
    return jax.lax.Precision.HIGHEST if jnp.finfo(dtype).bits > 16 else jax.lax.Precision.DEFAULT


def drop_path_rates(last: float, blocks: int) -> list[float]:
    """The rates of stochastic depth of `blocks` blocks, linear from 0 to `last`.

    >>> drop_path_rates(0.2, 3)
    [0.0, 0.1, 0.2]
    """
    return [last * index / max(blocks - 1, 1) for index in range(blocks)]
