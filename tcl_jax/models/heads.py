"""What sits on top of an encoder: the projection head for training, the linear classifier for evaluation."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Initializer
from jax.typing import DTypeLike


class ProjectionHead(nn.Module):
    """Two-layer projection head: features [n, f] -> unit rows [n, projection_dim].

        z = u / max(|u|, 1e-12),   u = W2 relu(W1 x + b1) + b2,   W1 of shape f x f

    Computes in at least float32, whatever the encoder computes in; float64 stays float64. A row u = 0 stays 0
    and has a finite gradient. Initial values are those of PyTorch's nn.Linear.

    Attributes:
      projection_dim: length of a row; 128 is the papers'.
      param_dtype: dtype of the parameters.

    Source: the head "mlp" of Khosla et al., Supervised Contrastive Learning, arXiv 2004.11362.
    """

    projection_dim: int = 128
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        hidden = nn.relu(_linear(features, features.shape[-1], self.param_dtype, name="linear1"))
        return unit_rows(_linear(hidden, self.projection_dim, self.param_dtype, name="linear2"))


class LinearClassifier(nn.Module):
    """One linear layer for the linear probe: features [n, f] -> logits [n, num_classes].

    Computes in at least float32. Initial values are those of PyTorch's nn.Linear, as in the papers' code.

    Attributes:
      num_classes: number of logits.
      param_dtype: dtype of the parameters.
    """

    num_classes: int
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        return _linear(features, self.num_classes, self.param_dtype, name="linear")


def unit_rows(x: jax.Array) -> jax.Array:
    """Rows scaled to unit length: x / max(|x|, 1e-12) along the last axis, as PyTorch's F.normalize.

    x [..., d] in float32 or float64; the result has its shape and dtype. Below length 1e-12 the divisor is
    constant, so that the gradient is finite everywhere, at x = 0 too.
    """
    # The maximum is taken before the root, whose derivative at 0 is infinite.
    squared_length = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(squared_length, 1e-24))


def _linear(x: jax.Array, features: int, param_dtype: DTypeLike, *, name: str) -> jax.Array:
    """A linear layer in at least float32, with PyTorch's initial values: all within 1 / sqrt(fan_in)."""
    init = _uniform(x.shape[-1] ** -0.5)
    return nn.Dense(
        features,
        param_dtype=param_dtype,
        precision=jax.lax.Precision.HIGHEST,  # a GPU's default is TF32
        kernel_init=init,
        bias_init=init,
        name=name,
    )(x.astype(jnp.promote_types(x.dtype, jnp.float32)))


def _uniform(bound: float) -> Initializer:
    """Values drawn uniformly from [-bound, bound)."""
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
