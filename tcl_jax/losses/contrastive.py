"""The three contrastive losses. One engine computes them all; a face only fixes what its paper fixes."""

import numbers
from collections.abc import Hashable
from typing import Any, Literal, TypeGuard

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from tcl_jax.losses.arguments import as_array, as_labels, as_number, as_rows, as_weights
from tcl_jax.losses.batch import Split
from tcl_jax.losses.engine import Form, contrastive_loss
from tcl_jax.losses.statistics import Coefficients

BlockSize = int | Literal["auto"] | None
Reduction = Literal["mean", "none"]


def tcl_loss(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: ArrayLike = 0.1,
    k1: ArrayLike = 5000.0,
    k2: ArrayLike = 1.0,
    weights: ArrayLike | None = None,
    axis_name: Hashable | None = None,
    block_size: BlockSize = "auto",
    reduction: Reduction = "mean",
) -> jax.Array:
    r"""Tuned contrastive loss.

    With s_ij = z_i . z_j, P(i) the other rows of the class of anchor i, N(i) the rows of other classes, temperature t:

        D_i = sum_{p in P(i)} [exp(s_ip / t) + k1 exp(-s_ip)] + k2 sum_{n in N(i)} exp(s_in / t)
        L_i = log D_i - 1 / |P(i)| sum_{p in P(i)} s_ip / t

    The term exp(-s_ip) has no temperature. An anchor without a positive does not count, but stays a negative of the
    others. The rows are not normalised here: they are expected to have unit length.

    Args:
      embeddings: floating [n, d], rows of unit length. 16-bit rows are computed in float32, float64 rows in float64.
      labels: integer [n]. Rows with equal labels are positives of each other: classes for supervised training, image
        ids for self-supervised training. 64-bit labels must fit in 32 bits unless jax_enable_x64 is set: as an argument
        of a function under `jax.jit`, JAX casts them before the loss sees them, so number large ids first, by
        `np.unique(labels, return_inverse=True)[1]`.
      temperature: finite scalar t > 0, usually 0.05 to 0.5.
      k1: finite scalar >= 0; above 0 it strengthens the gradient from hard positives. 0 switches the term off.
      k2: finite scalar >= 0; above 1 it strengthens the gradient from hard negatives.
      weights: finite [n], >= 0, by default all 1. 0 is the same as removing the row (use it for padding), and so is a
        traced value that is not above 0; a value above 0 scales the row's share of the mean and changes nothing else.
      axis_name: mapped axis (of `jax.shard_map` or `jax.pmap`) over which the batch is split, each device holding the
        same number of rows. Rows are gathered, so that every anchor meets all rows of the global batch. None: the
        batch is whole. (So it is under plain `jax.jit` over an array sharded on mesh axes of type Auto; but there every
        device does all the work.)
      block_size: the n x n pairs are visited in tiles of block_size x block_size, and nothing of size n x n is stored.
        "auto": 512 on CPUs, 4,096 on other devices. None: all pairs at once, the dense form.
      reduction: "mean", the weighted mean over all anchors of the global batch that count, the same on every device
        (0 where none counts); or "none", L_i of this device's rows [n], unweighted, 0 where the anchor does not count.

    Returns:
      Scalar or [n], in float32 (float64 for float64 rows). Exact derivatives by embeddings, weights, temperature, k1
      and k2, in reverse mode, once. Under `jax.shard_map` `jax.grad` is complete by itself. Under `jax.pmap`, and under
      `shard_map(check_vma=False)`, take it inside the mapped function, where each device's gradient of shared
      parameters is its part of a sum: add the parts with `jax.lax.psum`, not `pmean`. Taken of the mapped function from
      outside it would be wrong there.

    Raises:
      ValueError: a shape, dtype, option or value is not of the form above. Values are checked wherever they are known,
        which those that JAX traces are not.

    Example:
      >>> import jax.numpy as jnp
      >>> from tcl_jax import losses
      >>> z = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
      >>> print(f"{losses.tcl_loss(z, jnp.array([0, 0, 1, 1]), temperature=0.5, k1=1.0):.4f}")
      0.9090

    References:
      Animesh and Chandraker, Tuned Contrastive Learning, WACV 2025, arXiv 2305.10675, Eq. 4.
    """
    return _checked_loss(
        embeddings,
        labels,
        temperature=temperature,
        k1=k1,
        k2=k2,
        weights=weights,
        axis_name=axis_name,
        block_size=block_size,
        reduction=reduction,
    )


def supcon_loss(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: ArrayLike = 0.1,
    weights: ArrayLike | None = None,
    axis_name: Hashable | None = None,
    block_size: BlockSize = "auto",
    reduction: Reduction = "mean",
) -> jax.Array:
    """Supervised contrastive loss: `tcl_loss` with k1 = 0 and k2 = 1.

        L_i = -1 / |P(i)| sum_{p in P(i)} log [exp(s_ip / t) / sum_{j != i} exp(s_ij / t)]

    This is L_out of the paper, without the factor t / t_base that some code adds. Arguments, result, derivatives and
    errors are those of `tcl_loss`.

    Example:
      >>> import jax.numpy as jnp
      >>> from tcl_jax import losses
      >>> z = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
      >>> print(f"{losses.supcon_loss(z, jnp.array([0, 0, 1, 1]), temperature=0.5):.4f}")
      0.8707

    References:
      Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, arXiv 2004.11362, Eq. 2.
    """
    return _checked_loss(
        embeddings,
        labels,
        temperature=temperature,
        k1=0.0,
        k2=1.0,
        weights=weights,
        axis_name=axis_name,
        block_size=block_size,
        reduction=reduction,
    )


def ntxent_loss(
    embeddings: ArrayLike,
    *,
    num_views: int = 2,
    temperature: ArrayLike = 0.5,
    weights: ArrayLike | None = None,
    axis_name: Hashable | None = None,
    block_size: BlockSize = "auto",
    reduction: Reduction = "mean",
) -> jax.Array:
    """Normalised temperature-scaled cross-entropy of SimCLR: `supcon_loss` whose labels are image ids.

    The rows are stacked view by view: [view 1 of all images; view 2 of all images; ...], on each device for its own
    images. With two views this is SimCLR's loss; with more, every other view of the image is a positive.

    Args:
      embeddings: floating [num_views * images, d], rows of unit length.
      num_views: views of each image, at least 2.
      temperature, weights, axis_name, block_size, reduction: as in `tcl_loss`, which also tells result and errors.

    Example:
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
    if not _is_count(num_views) or num_views < 2 or embeddings.ndim != 2 or len(embeddings) % num_views:
        raise ValueError(
            f"embeddings of shape {list(embeddings.shape)} cannot hold num_views={num_views!r} views of each image: "
            "expected [num_views * images, d] with num_views >= 2, stacked view by view."
        )
    images = len(embeddings) // num_views
    first = 0 if axis_name is None else lax.axis_index(axis_name) * images
    return _checked_loss(
        embeddings,
        first + jnp.tile(jnp.arange(images, dtype=jnp.int32), num_views),
        temperature=temperature,
        k1=0.0,
        k2=1.0,
        weights=weights,
        axis_name=axis_name,
        block_size=block_size,
        reduction=reduction,
    )


def _checked_loss(
    embeddings: ArrayLike, labels: ArrayLike, *, reduction: Reduction, **options: Any
) -> jax.Array:
    split, arrays, coefficients = check_arguments(embeddings, labels, **options)
    if reduction not in ("mean", "none"):
        raise ValueError(f'reduction must be "mean" or "none", got {reduction!r}.')
    return contrastive_loss(Form(split, reduction), *arrays, coefficients)


def check_arguments(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: ArrayLike,
    k1: ArrayLike,
    k2: ArrayLike,
    weights: ArrayLike | None,
    axis_name: Hashable | None,
    block_size: BlockSize,
) -> tuple[Split, tuple[jax.Array, jax.Array, jax.Array], Coefficients]:
    """The arguments of `tcl_loss` as the engine wants them: embeddings, labels and weights in the middle.

    Weights and coefficients get the dtype of the computation. Raises ValueError as `tcl_loss` does.
    """
    rows, dtype = as_rows(embeddings)
    arrays = rows, as_labels(labels, len(rows)), as_weights(weights, len(rows), dtype)
    coefficients = Coefficients(
        as_number("temperature", temperature, dtype, above_zero=True),
        as_number("k1", k1, dtype),
        as_number("k2", k2, dtype),
    )
    return Split(axis_name, _rows_in_block(block_size)), arrays, coefficients


def best_block_size(platform: str) -> int:
    """The block_size of "auto" on a platform of JAX ("cpu", "gpu", "tpu")."""
    # A tile that fits the cache of a CPU core is fastest there; elsewhere one that is worth a kernel launch.
    return 512 if platform == "cpu" else 4096


def _rows_in_block(block_size: BlockSize) -> int | None:
    if block_size is None:
        return None
    if isinstance(block_size, str) and block_size == "auto":
        return best_block_size(jax.default_backend())
    if _is_count(block_size) and block_size > 0:
        return int(block_size)
    raise ValueError(f'block_size must be None, "auto" or a positive number of rows, got {block_size!r}.')


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
