"""Losses of rows that meet each other. One engine computes them all; a function only fixes what its paper fixes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from tcl_jax.losses.arguments import (
    BlockSize,
    as_array,
    as_labels,
    as_left_out,
    as_number,
    as_rows,
    as_split,
    as_weights,
    check_comparable,
    check_reduction,
    is_count,
)
from tcl_jax.losses.engine import Differentiable, Fixed, Form, References, contrastive_loss
from tcl_jax.losses.family import Family
from tcl_jax.losses.hard_negatives import HardNegatives, Hardness
from tcl_jax.losses.one_positive import OnePositive
from tcl_jax.losses.softmax import Coefficients, Softmax

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Integer, Real

Reduction = Literal["mean", "none"]

SUPCON: dict[tuple[str, str], Family] = {
    ("outside", "all"): Softmax(),
    ("inside", "all"): Softmax(inside=True),
    ("outside", "negatives"): Softmax(positives_in_denominator=False),
    ("inside", "negatives"): Softmax(inside=True, positives_in_denominator=False),
    ("outside", "one_positive"): OnePositive(),
    ("inside", "one_positive"): OnePositive(inside=True),
}
"""Members of the family by the positives and the denominator of `supcon_loss`."""


def tcl_loss(
    embeddings: Float[ArrayLike, "n d"],
    labels: Integer[ArrayLike, " n"] | Float[ArrayLike, "n c"],
    *,
    temperature: Real[ArrayLike, ""] = 0.1,
    k1: Real[ArrayLike, ""] = 5000.0,
    k2: Real[ArrayLike, ""] = 1.0,
    left_out: Integer[ArrayLike, " n"] | None = None,
    references: References | tuple[Any, ...] | None = None,
    weights: Real[ArrayLike, " n"] | Bool[ArrayLike, " n"] | None = None,
    axis_name: Hashable | None = None,
    block_size: BlockSize = "auto",
    reduction: Reduction = "mean",
) -> Float[Array, ""] | Float[Array, " n"]:
    r"""Tuned contrastive loss.

    With s_ij = z_i . z_j, P(i) the other rows of the class of anchor i, N(i) the rows of other classes, temperature t:

        D_i = sum_{p in P(i)} [exp(s_ip / t) + k1 exp(-s_ip)] + k2 sum_{n in N(i)} exp(s_in / t)
        L_i = log D_i - 1 / |P(i)| sum_{p in P(i)} s_ip / t

    The term exp(-s_ip) has no temperature. An anchor without a positive does not count, but stays a negative of the
    others. The rows are not normalised here: they are expected to have unit length.

    With soft labels y, row j is a positive of anchor i to the degree p_ij = y_i . y_j and a negative to the degree
    1 - p_ij. The sums over P(i) and N(i) are then sums over all other rows, weighted by these, and |P(i)| is P_i, the
    sum of p_ij. One-hot rows give what class numbers give.

    Args:
      embeddings: floating [n, d], rows of unit length. 16-bit rows are computed in float32, float64 rows in float64.
      labels: integer [n]. Rows with equal labels are positives of each other: classes for supervised training, image
        ids for self-supervised training. 64-bit labels must fit in 32 bits unless jax_enable_x64 is set: as an argument
        of a function under `jax.jit`, JAX casts them before the loss sees them, so number large ids first, by
        `np.unique(labels, return_inverse=True)[1]`.
        Or soft labels, floating [n, c], at least 0, so scaled that y_i . y_j is in [0, 1]: probabilities, or multi-hot
        rows of unit length. The loss has no derivative by them.
      temperature: finite scalar t > 0, usually 0.05 to 0.5.
      k1: finite scalar >= 0; above 0 it strengthens the gradient from hard positives. 0 switches the term off.
      k2: finite scalar >= 0; above 1 it strengthens the gradient from hard negatives.
      left_out: integer [n]. Two different rows with equal ids of at least 0 are not a pair, neither a positive nor a
        negative one. By default no pair is left out.
      references: (embeddings [m, d], labels [m] or [m, c]), or `References` with weights and left_out: further columns
        for every anchor, as of a queue; never anchors, without derivatives. Over devices, each passes a share of equal
        size.
      weights: finite [n], >= 0, by default all 1. 0 is the same as removing the row (use it for padding), and so is a
        traced value that is not above 0; a value above 0 scales the row's share of the mean and changes nothing else.
      axis_name: mapped axis (of `jax.shard_map` or `jax.pmap`) over which the batch is split, each device holding the
        same number of rows. Rows are gathered, so that every anchor meets all rows of the global batch. None: the
        batch is whole. (So it is under plain `jax.jit` over an array sharded on mesh axes of type Auto; but there every
        device does all the work.)
      block_size: the n x n pairs are visited in tiles of block_size x block_size, and nothing of size n x n is stored.
        "auto": 512 on CPUs, 4,096 on other devices; but all at once where that takes less than about 32 MB. None: all
        pairs at once, the dense form.
      reduction: "mean", the weighted mean over all anchors of the global batch that count, the same on every device
        (0 where none counts); or "none", L_i of this device's rows [n], unweighted, 0 where the anchor does not count.

    Returns:
      Scalar or [n], in float32 (float64 for float64 rows). Exact derivatives by embeddings, weights, temperature, k1
      and k2, in reverse mode, once. Under `jax.shard_map` `jax.grad` is complete by itself. Under `jax.pmap`, and under
      `shard_map(check_vma=False)`, take it inside the mapped function, where each device's gradient of shared
      parameters is its part of a sum: add the parts with `jax.lax.psum`, not `pmean`. Taken of the mapped function from
      outside it would be wrong there. (With JAX older than 0.6.0 the sum is yours inside a checked `shard_map`, too;
      from outside, `jax.grad` of the mapped function is complete.)

    Raises:
      ValueError: a shape, dtype, option or value is not of the form above. Values are checked wherever they are known,
        which those that JAX traces are not.

    Examples:
      >>> import jax.numpy as jnp
      >>> from tcl_jax import losses
      >>> z = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
      >>> print(f"{losses.tcl_loss(z, jnp.array([0, 0, 1, 1]), temperature=0.5, k1=1.0):.4f}")
      0.9090

    References:
      Animesh and Chandraker, Tuned Contrastive Learning, WACV 2025, arXiv 2305.10675, Eq. 4.
    """
    return _loss_of(
        Softmax(),
        embeddings,
        labels,
        coefficients=lambda dtype: as_coefficients(temperature, k1, k2, dtype),
        left_out=left_out,
        references=references,
        weights=weights,
        axis_name=axis_name,
        block_size=block_size,
        reduction=reduction,
    )


def supcon_loss(
    embeddings: Float[ArrayLike, "n d"],
    labels: Integer[ArrayLike, " n"] | Float[ArrayLike, "n c"],
    *,
    temperature: Real[ArrayLike, ""] = 0.1,
    positives: Literal["outside", "inside"] = "outside",
    denominator: Literal["all", "one_positive", "negatives"] = "all",
    hardness: Real[ArrayLike, ""] | None = None,
    left_out: Integer[ArrayLike, " n"] | None = None,
    references: References | tuple[Any, ...] | None = None,
    weights: Real[ArrayLike, " n"] | Bool[ArrayLike, " n"] | None = None,
    axis_name: Hashable | None = None,
    block_size: BlockSize = "auto",
    reduction: Reduction = "mean",
) -> Float[Array, ""] | Float[Array, " n"]:
    """Supervised contrastive loss: `tcl_loss` with k1 = 0 and k2 = 1, and its variants.

        L_i = -1 / |P(i)| sum_{p in P(i)} log [exp(s_ip / t) / D_ip]        positives outside of the logarithm: L_out
        L_i = -log [1 / |P(i)| sum_{p in P(i)} exp(s_ip / t) / D_ip]        inside: L_in

    This is the paper's loss, without the factor t / t_base that some code adds.

    Args:
      embeddings, labels, temperature, left_out, references, weights, axis_name, block_size, reduction: as in
        `tcl_loss`; so are result, derivatives and errors.
      positives: "outside" or "inside" of the logarithm.
      denominator: what D_ip sums exp(s_ij / t) over: "all" other rows; "one_positive", row p and the negatives
        (SINCERE); or the "negatives" (decoupled), where an anchor without a negative does not count.
      hardness: finite scalar b >= 0. In D_i the sum of exp(s_in / t) over negatives becomes their number times their
        mean under weights exp(b s_in / t), so that near negatives count more; 0 changes nothing. No derivative by it.

    Examples:
      >>> import jax.numpy as jnp
      >>> from tcl_jax import losses
      >>> z = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
      >>> print(f"{losses.supcon_loss(z, jnp.array([0, 0, 1, 1]), temperature=0.5):.4f}")
      0.8707

    References:
      Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, arXiv 2004.11362, Eq. 2 and 3.
      Feeney and Hughes, SINCERE: Supervised Information Noise-Contrastive Estimation Revisited, arXiv 2309.14277.
      Yeh et al., Decoupled Contrastive Learning, ECCV 2022, arXiv 2110.06848.
      Robinson et al., Contrastive Learning with Hard Negative Samples, ICLR 2021, arXiv 2010.04592, Sec. 3, tau+ = 0.
    """
    names = (positives, denominator)
    family = SUPCON.get(names) if all(isinstance(name, str) for name in names) else None
    if family is None:
        known = ", ".join(f"{a!r} with {b!r}" for a, b in SUPCON)
        raise ValueError(
            f"positives={positives!r} with denominator={denominator!r} is not a known loss, expected one of {known}."
        )
    if hardness is not None:
        if names != ("outside", "all"):
            raise ValueError(
                "hardness is for positives='outside' with denominator='all' alone: leave one of them out."
            )
        family = HardNegatives()

    def coefficients(dtype: Any) -> Any:
        if hardness is None:
            return as_coefficients(temperature, 0.0, 1.0, dtype)
        return Hardness(
            as_number("temperature", temperature, dtype, above_zero=True),
            lax.stop_gradient(as_number("hardness", hardness, dtype)),  # no derivative by it
        )

    return _loss_of(
        family,
        embeddings,
        labels,
        coefficients=coefficients,
        left_out=left_out,
        references=references,
        weights=weights,
        axis_name=axis_name,
        block_size=block_size,
        reduction=reduction,
    )


def ntxent_loss(
    embeddings: Float[ArrayLike, "n d"],
    *,
    num_views: int = 2,
    temperature: Real[ArrayLike, ""] = 0.5,
    weights: Real[ArrayLike, " n"] | Bool[ArrayLike, " n"] | None = None,
    axis_name: Hashable | None = None,
    block_size: BlockSize = "auto",
    reduction: Reduction = "mean",
) -> Float[Array, ""] | Float[Array, " n"]:
    """Normalised temperature-scaled cross-entropy of SimCLR: `supcon_loss` whose labels are image ids.

    The rows are stacked view by view: [view 1 of all images; view 2 of all images; ...], on each device for its own
    images. With two views this is SimCLR's loss; with more, every other view of the image is a positive.

    Args:
      embeddings: floating [num_views * images, d], rows of unit length.
      num_views: views of each image, at least 2.
      temperature, weights, axis_name, block_size, reduction: as in `tcl_loss`; so are result and errors.

    Examples:
      >>> import jax.numpy as jnp
      >>> from tcl_jax import losses
      >>> z = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])  # two images, two views
      >>> print(f"{losses.ntxent_loss(z):.4f}")
      0.8707

    References:
      Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, arXiv 2002.05709,
      Eq. 1.
    """
    embeddings = as_array("embeddings", embeddings)
    if not is_count(num_views) or num_views < 2 or embeddings.ndim != 2 or len(embeddings) % num_views:
        raise ValueError(
            f"embeddings of shape {list(embeddings.shape)} cannot hold num_views={num_views!r} views of each image: "
            "expected [num_views * images, d] with num_views >= 2, stacked view by view."
        )
    images = len(embeddings) // num_views
    first = 0 if axis_name is None else lax.axis_index(axis_name) * images
    return supcon_loss(
        embeddings,
        first + jnp.tile(jnp.arange(images, dtype=jnp.int32), num_views),
        temperature=temperature,
        weights=weights,
        axis_name=axis_name,
        block_size=block_size,
        reduction=reduction,
    )


def _loss_of(
    family: Family,
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    coefficients: Callable[[Any], Any],
    left_out: ArrayLike | None,
    references: tuple[Any, ...] | None,
    weights: ArrayLike | None,
    axis_name: Hashable | None,
    block_size: BlockSize,
    reduction: Reduction,
) -> jax.Array:
    rows, dtype = as_rows(embeddings)
    count = len(rows)
    fixed = Fixed(as_labels(labels, count, dtype), as_left_out(left_out, count))
    columns = count
    if references is not None:
        fixed = fixed._replace(references=_as_references(references, rows, fixed, dtype))
        columns += 0 if fixed.references is None else len(fixed.references.embeddings)
    given = Differentiable((rows,), as_weights(weights, count, dtype), coefficients(dtype))
    split = as_split(axis_name, block_size, count, columns, dtype, soft_labels=fixed.labels.ndim > 1)
    form = Form(family, split, check_reduction(reduction))
    return contrastive_loss(form, given, fixed)


def as_coefficients(temperature: ArrayLike, k1: ArrayLike, k2: ArrayLike, dtype: Any) -> Coefficients:
    """Coefficients in the dtype of the computation; raises ValueError as `tcl_loss` does."""
    return Coefficients(
        as_number("temperature", temperature, dtype, above_zero=True),
        as_number("k1", k1, dtype),
        as_number("k2", k2, dtype),
    )


def _as_references(references: Any, rows: jax.Array, fixed: Fixed, dtype: Any) -> References | None:
    if not isinstance(references, tuple | list) or not 2 <= len(references) <= 4:
        raise ValueError(
            "references must be (embeddings [m, d], labels [m]) or losses.References, got "
            f"{type(references).__name__}."
        )
    given = References(*references)
    embeddings = as_array("the embeddings of references", given.embeddings)
    if embeddings.ndim == 2 and len(embeddings) == 0:
        return None
    embeddings, _ = as_rows(embeddings, "the embeddings of references")
    count = len(embeddings)
    labels = as_labels(given.labels, count, dtype, "the labels of references")
    weights = as_weights(given.weights, count, dtype, "the weights of references")
    left_out = as_left_out(given.left_out, count, "the left_out of references")
    for name, theirs, ours in (("embeddings", embeddings, rows), ("labels", labels, fixed.labels)):
        if theirs.shape[1:] != ours.shape[1:]:
            raise ValueError(
                f"the {name} of references have shape {list(theirs.shape)}, but {name} have shape {list(ours.shape)}: "
                "give both of one width, and labels of one kind."
            )
    check_comparable("labels", fixed.labels, labels)
    if left_out is not None:
        if fixed.left_out is None:
            raise ValueError("left_out of references is given, but left_out is not: give ids of both.")
        check_comparable("left_out", fixed.left_out, left_out)
    return References(*lax.stop_gradient((embeddings, labels, weights, left_out)))
