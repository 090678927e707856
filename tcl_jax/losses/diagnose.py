"""What drives a contrastive loss: which pairs its gradient comes from, and how the rows lie on the sphere."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import entr
from jax.typing import ArrayLike

from tcl_jax.losses.arguments import BlockSize, as_labels, as_rows, as_split, as_weights
from tcl_jax.losses.batch import Split, arrange, fold_pairs, make_batch, sum_over_devices, varying_alike
from tcl_jax.losses.contrastive import as_coefficients
from tcl_jax.losses.engine import collect
from tcl_jax.losses.pairs import Anchors, find_pairs, similarities
from tcl_jax.losses.softmax import Coefficients, Softmax
from tcl_jax.losses.tiles import Kind

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Integer, Real


class Diagnostics(NamedTuple):
    """Diagnostics of one global batch: float scalars, the same on every device, never NaN for finite rows.

    With g_ij = dL_i / ds_ij, of the loss L_i of anchor i by its similarity to row j (see `tcl_loss`):

        g_ip = (exp(s_ip / t) / t - k1 exp(-s_ip)) / D_i - 1 / (t |P(i)|)       g_in = k2 exp(s_in / t) / (t D_i)

    A positive is hard if some negative of its anchor is nearer: s_ip < max_N s_in. A negative is hard if some positive
    of its anchor is farther: s_in > min_P s_ip. Where no pair is of the kind, the value is 0.

    Attributes:
      counted: share of the live rows that count as anchors, 0 to 1.
      positive_similarity, negative_similarity: mean s_ij over all positive and over all negative pairs, -1 to 1.
      hard_positive_mass, hard_negative_mass: sum of |g_ij| over the hard positives (negatives) over the sum for all
        pairs of the anchor, 0 to 1; the mean over counted anchors by their weights.
      alignment: mean of |z_i - z_p|^2 over all positive pairs, 0 to 4; lower is tighter.
      uniformity: log of the mean of exp(-2 |z_i - z_j|^2) over all pairs, -8 to 0; lower is more evenly spread.
      rank: RankMe, the effective number of dimensions that the m live rows Z [m, d] take up, from about 1, where all
        lie on one line through 0, to min(m, d), where they fill all dimensions equally:

            exp(-sum_k p_k log p_k),   p_k = sigma_k / sum_l sigma_l + 1e-7,   k = 1 to min(m, d)

        of the singular values sigma of Z, which is not centred.

    References:
      Alignment and uniformity: Wang and Isola, Understanding Contrastive Representation Learning through Alignment and
      Uniformity on the Hypersphere, ICML 2020, arXiv 2005.10242, Sec. 4.1, with alpha = 2 and t = 2. The gradient by
      similarities: Animesh and Chandraker, Tuned Contrastive Learning, WACV 2025, arXiv 2305.10675, Sec. 3. RankMe:
      Garrido et al., RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by
      Their Rank, ICML 2023, arXiv 2210.02885, Eq. 1.
    """

    counted: Float[Array, ""]
    positive_similarity: Float[Array, ""]
    negative_similarity: Float[Array, ""]
    hard_positive_mass: Float[Array, ""]
    hard_negative_mass: Float[Array, ""]
    alignment: Float[Array, ""]
    uniformity: Float[Array, ""]
    rank: Float[Array, ""]


def diagnostics(
    embeddings: Float[ArrayLike, "n d"],
    labels: Integer[ArrayLike, " n"],
    *,
    temperature: Real[ArrayLike, ""] = 0.1,
    k1: Real[ArrayLike, ""] = 5000.0,
    k2: Real[ArrayLike, ""] = 1.0,
    weights: Real[ArrayLike, " n"] | Bool[ArrayLike, " n"] | None = None,
    axis_name: Hashable | None = None,
    block_size: BlockSize = "auto",
) -> Diagnostics:
    """How a batch drives `tcl_loss`; with k1 = 0 and k2 = 1, how it drives `supcon_loss`.

    Arguments and errors are those of `tcl_loss`. Costs about as much as the loss with its gradient, and no more memory.
    No derivative passes through the diagnostics.

    Examples:
      >>> import jax.numpy as jnp
      >>> from tcl_jax import losses
      >>> z = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
      >>> found = losses.diagnostics(z, jnp.array([0, 0, 1, 1]), temperature=0.5, k1=1.0)
      >>> print(f"{found.alignment:.2f} {found.hard_negative_mass:.2f}")
      0.40 0.16
    """
    rows, dtype = as_rows(embeddings)
    count = len(rows)
    numbers = as_labels(labels, count, dtype)
    if numbers.ndim > 1:
        raise ValueError(
            f"labels must be integer [{count}] here: diagnostics are not defined for soft labels."
        )
    split = as_split(axis_name, block_size, count, count, dtype)
    arrays = rows, numbers, as_weights(weights, count, dtype), as_coefficients(temperature, k1, k2, dtype)
    return _diagnostics(split, *lax.stop_gradient(arrays))


class _Numbers(NamedTuple):
    """What decides the hard pairs and the weights of all pairs of an anchor, [m] each."""

    squared_length: jax.Array
    log_denominator: jax.Array
    per_positive: jax.Array
    nearest_negative: jax.Array
    farthest_positive: jax.Array


class _Sums(NamedTuple):
    """Sums over the pairs of each anchor, [m] each."""

    all_mass: jax.Array
    hard_positive_mass: jax.Array
    hard_negative_mass: jax.Array
    negative_similarity: jax.Array
    num_negatives: jax.Array
    potential: jax.Array


@functools.partial(jax.jit, static_argnums=0)
def _diagnostics(
    split: Split, embeddings: jax.Array, labels: jax.Array, weights: jax.Array, coefficients: Coefficients
) -> Diagnostics:
    embeddings, labels, weights, coefficients = varying_alike(
        (embeddings, labels, weights, coefficients), split.axis_name
    )
    live, dtype = weights > 0, weights.dtype
    batch = make_batch(split, embeddings, labels, live, dtype=dtype)
    ((statistics,),) = collect(Softmax(), split, (batch,), None, coefficients)
    denominator = Softmax().denominators(coefficients, statistics)
    num_positives = statistics.num_positives
    counts = num_positives > 0
    numbers = _Numbers(
        squared_length=jnp.sum(batch.rows.embeddings**2, axis=1),
        log_denominator=denominator.log_scale + jnp.log(jnp.where(counts, denominator.scaled, 1.0)),
        per_positive=jnp.where(counts, 1.0 / jnp.maximum(num_positives, 1.0), 0.0),
        nearest_negative=statistics.negatives.largest,
        farthest_positive=-statistics.repulsions.largest,
    )
    ((_, sums, _),) = fold_pairs(
        split,
        (batch,),
        None,
        functools.partial(_tile_sums, coefficients),
        lambda a, b: jax.tree.map(jnp.add, a, b),
        (numbers,),
        empty=lambda count: _Sums(*(jnp.zeros(count, dtype),) * 6),
        mirrored=False,
    )

    def total(x: jax.Array) -> jax.Array:
        return sum_over_devices(jnp.sum(x, dtype=dtype), split.axis_name)

    def ratio(x: jax.Array, y: jax.Array) -> jax.Array:
        return x / jnp.where(y > 0, y, 1.0)

    counted_weights = jnp.where(counts, arrange(weights, batch.order, split), 0.0)

    def mean_mass(mass: jax.Array) -> jax.Array:
        return ratio(total(counted_weights * ratio(mass, sums.all_mass)), total(counted_weights))

    positive_pairs = total(num_positives)
    positive_similarity = ratio(total(statistics.positive_similarity), positive_pairs)
    mean_potential = ratio(total(sums.potential), positive_pairs + total(sums.num_negatives))
    return Diagnostics(
        counted=ratio(total(counts), total(batch.rows.live)),
        positive_similarity=positive_similarity,
        negative_similarity=ratio(total(sums.negative_similarity), total(sums.num_negatives)),
        hard_positive_mass=mean_mass(sums.hard_positive_mass),
        hard_negative_mass=mean_mass(sums.hard_negative_mass),
        # Each row is as often the anchor of a positive pair as the positive.
        alignment=2.0
        * (ratio(total(num_positives * numbers.squared_length), positive_pairs) - positive_similarity),
        uniformity=jnp.log(jnp.where(mean_potential > 0, mean_potential, 1.0)),
        rank=_effective_rank(batch.columns.embeddings, total(batch.rows.live), split.axis_name),
    )


def _effective_rank(rows: jax.Array, num_live: jax.Array, axis_name: Hashable | None) -> jax.Array:
    """RankMe of the rows of all devices, of which those that are not live are 0."""
    # Not by the eigenvalues of the d x d matrix of second moments, the squares of the singular values: in float32 each
    # would be off by 3e-4 of the largest, and rows at one point would seem to have a rank of 1.2 of 128.
    triangle = jnp.linalg.qr(rows, mode="r")
    if axis_name is not None:  # each device has the same, which JAX cannot see by itself
        triangle = lax.pmax(triangle, axis_name)
    singular = jnp.linalg.svd(triangle, compute_uv=False)
    total = jnp.sum(singular)
    share = singular / jnp.where(total > 0, total, 1.0) + 1e-7
    counted = jnp.arange(len(singular), dtype=num_live.dtype) < num_live
    return jnp.where(total > 0, jnp.exp(jnp.sum(jnp.where(counted, entr(share), 0.0))), 0.0)


def _tile_sums(
    coefficients: Coefficients, anchors: Anchors, columns: Anchors, kind: Kind
) -> tuple[_Sums, None]:
    del kind  # the masks cost little beside the rest
    temperature, k1, k2 = coefficients
    s = similarities(anchors.rows, columns.rows)
    positive, negative = find_pairs(anchors.rows, columns.rows)
    assert positive is not None
    assert negative is not None
    ours = jax.tree.map(lambda x: x[:, None], anchors.numbers)
    log_denominator = ours.log_denominator
    attraction = jnp.exp(s / temperature - log_denominator) / temperature
    repulsion = jnp.exp(jnp.log(k1) - s - log_denominator)
    by_positive = jnp.abs(attraction - repulsion - ours.per_positive / temperature)
    by_positive = jnp.where(positive, by_positive, 0.0)
    by_negative = jnp.where(
        negative, jnp.exp(jnp.log(k2) + s / temperature - log_denominator) / temperature, 0.0
    )
    distance = ours.squared_length + columns.numbers.squared_length - 2.0 * s
    sums = _Sums(
        all_mass=jnp.sum(by_positive + by_negative, axis=1),
        hard_positive_mass=jnp.sum(jnp.where(s < ours.nearest_negative, by_positive, 0.0), axis=1),
        hard_negative_mass=jnp.sum(jnp.where(s > ours.farthest_positive, by_negative, 0.0), axis=1),
        negative_similarity=jnp.sum(jnp.where(negative, s, 0.0), axis=1),
        num_negatives=jnp.sum(negative, axis=1, dtype=s.dtype),
        potential=jnp.sum(jnp.where(positive | negative, jnp.exp(-2.0 * distance), 0.0), axis=1),
    )
    return sums, None
