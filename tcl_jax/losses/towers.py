"""Losses of two towers: rows of one meet the rows of the other, as images meet their captions."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from tcl_jax.losses.arguments import (
    BlockSize,
    as_labels,
    as_number,
    as_rows,
    as_split,
    as_weights,
    check_reduction,
)
from tcl_jax.losses.contrastive import as_coefficients
from tcl_jax.losses.engine import Differentiable, Fixed, Form, contrastive_loss
from tcl_jax.losses.family import Family
from tcl_jax.losses.sigmoid import Affine, Sigmoid
from tcl_jax.losses.softmax import Softmax

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Integer, Real


def clip_loss(
    a: Float[ArrayLike, "n d"],
    b: Float[ArrayLike, "n d"],
    *,
    labels: Integer[ArrayLike, " n"] | Float[ArrayLike, "n c"] | None = None,
    scale: Real[ArrayLike, ""] = 1.0 / 0.07,
    weights: Real[ArrayLike, " n"] | Bool[ArrayLike, " n"] | None = None,
    axis_name: Hashable | None = None,
    block_size: BlockSize = "auto",
    reduction: Literal["mean", "none"] = "mean",
) -> Float[Array, ""] | Float[Array, " n"]:
    """Symmetric cross-entropy of two towers: CLIP; with labels UniCL.

    With s_ij = a_i . b_j and P(i) the rows of the label of row i, row i itself among them:

        L_i = 1/2 [log sum_j exp(scale s_ij) - 1 / |P(i)| sum_{p in P(i)} scale s_ip]
            + 1/2 [log sum_j exp(scale s_ji) - 1 / |P(i)| sum_{p in P(i)} scale s_pi]

    Args:
      a, b: floating [n, d], rows of unit length; a_i and b_i belong together.
      labels: by default every pair is a class of its own. Integer [n] or soft [n, c] as in `tcl_loss`, for both towers.
      scale: finite scalar above 0, 1 / temperature.
      weights: [n], of the pairs (a_i, b_i), as in `tcl_loss`; so are axis_name, block_size and reduction, and memory,
        result, derivatives (by a, b, weights and scale) and errors.

    Examples:
      >>> import jax.numpy as jnp
      >>> from tcl_jax import losses
      >>> a, b = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[0.8, 0.6], [0.6, 0.8]])
      >>> print(f"{losses.clip_loss(a, b, scale=2.0):.4f}")
      0.5130

    References:
      Radford et al., Learning Transferable Visual Models From Natural Language Supervision, arXiv 2103.00020, Fig. 3.
      Yang et al., Unified Contrastive Learning in Image-Text-Label Space, CVPR 2022, arXiv 2204.03610, Eq. 1 to 3, with
      the mean over positives in place of the sum.
    """

    def coefficients(dtype: np.dtype) -> Any:
        return as_coefficients(1.0 / as_number("scale", scale, dtype, above_zero=True), 0.0, 1.0, dtype)

    return _loss_of(Softmax(), a, b, labels, coefficients, weights, axis_name, block_size, reduction)


def siglip_loss(
    a: Float[ArrayLike, "n d"],
    b: Float[ArrayLike, "n d"],
    *,
    labels: Integer[ArrayLike, " n"] | Float[ArrayLike, "n c"] | None = None,
    scale: Real[ArrayLike, ""] = 10.0,
    bias: Real[ArrayLike, ""] = -10.0,
    weights: Real[ArrayLike, " n"] | Bool[ArrayLike, " n"] | None = None,
    axis_name: Hashable | None = None,
    block_size: BlockSize = "auto",
    reduction: Literal["mean", "none"] = "mean",
) -> Float[Array, ""] | Float[Array, " n"]:
    """Sigmoid loss of two towers: SigLIP. Every pair is a question of its own: do a_i and b_j belong together?

    With s_ij = a_i . b_j, and m_ij = 1 where labels i and j are equal, -1 elsewhere:

        L = -1/n sum_i sum_j log sigmoid(m_ij (scale s_ij + bias))

    A row's share L_i, of which L is the mean, is half of the sum over its row and half of that over its column.

    Args:
      a, b, labels, weights: as in `clip_loss`; so are axis_name, block_size and reduction, memory, result and errors.
      scale: finite scalar above 0.
      bias: finite scalar.

    Returns:
      As `clip_loss`, with derivatives by a, b, weights, scale and bias.

    Examples:
      >>> import jax.numpy as jnp
      >>> from tcl_jax import losses
      >>> a, b = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[0.8, 0.6], [0.6, 0.8]])
      >>> print(f"{losses.siglip_loss(a, b, scale=2.0, bias=-1.0):.4f}")
      1.2356

    References:
      Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023, arXiv 2303.15343, Sec. 3.2.
    """

    def coefficients(dtype: np.dtype) -> Any:
        return Affine(
            as_number("scale", scale, dtype, above_zero=True), as_number("bias", bias, dtype, any_sign=True)
        )

    return _loss_of(Sigmoid(), a, b, labels, coefficients, weights, axis_name, block_size, reduction)


def _loss_of(
    family: Family,
    a: ArrayLike,
    b: ArrayLike,
    labels: ArrayLike | None,
    coefficients: Any,
    weights: ArrayLike | None,
    axis_name: Hashable | None,
    block_size: BlockSize,
    reduction: Any,
) -> jax.Array:
    (left, of_a), (right, of_b) = as_rows(a, "a"), as_rows(b, "b")
    if left.shape != right.shape:
        raise ValueError(
            f"a and b must have the same shape, one pair in each row, got {list(left.shape)} and {list(right.shape)}."
        )
    count, dtype = len(left), jnp.promote_types(of_a, of_b)
    if labels is None:
        first = 0 if axis_name is None else lax.axis_index(axis_name) * count
        labels = first + jnp.arange(count, dtype=jnp.int32)
    given = Differentiable((left, right), as_weights(weights, count, dtype), coefficients(dtype))
    classes = as_labels(labels, count, dtype)
    soft = classes.ndim > 1
    split = as_split(axis_name, block_size, count, count, dtype, two_towers=True, soft_labels=soft)
    return contrastive_loss(Form(family, split, check_reduction(reduction)), given, Fixed(classes))
