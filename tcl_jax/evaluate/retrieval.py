"""Retrieval: whether the images that are nearest to an image are of its class."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike

from tcl_jax.evaluate.arguments import check_features, check_labels
from tcl_jax.evaluate.knn import near_unit, unit
from tcl_jax.parallel import DATA_AXIS, local_rows, make_mesh, replicate, split_batch

if TYPE_CHECKING:
    from jaxtyping import Float, Integer


class Retrieval(NamedTuple):
    """Means over queries, 0 to 1.

    Attributes:
      recall_at_1, recall_at_2, recall_at_4, recall_at_8, r_precision, map_at_r: as `retrieval_metrics` has them.
      queries: rows that the means are over.
      left_out: rows that are the only ones of their class.
    """

    recall_at_1: float
    recall_at_2: float
    recall_at_4: float
    recall_at_8: float
    r_precision: float
    map_at_r: float
    queries: int
    left_out: int


_CUTOFFS = (1, 2, 4, 8)
_CELLS = 2**24  # cosines at once on a device


def retrieval_metrics(
    features: Float[ArrayLike, "n f"], labels: Integer[ArrayLike, " n"], *, mesh: Mesh | None = None
) -> Retrieval:
    """How well each row finds the other rows of its class, when all other rows are sorted by their cosine with it.

        rel(i)       1 if the i-th of the sorted rows is of the query's class, otherwise 0
        R            the number of other rows of its class
        recall@k     1 if any of rel(1), ..., rel(k) is 1, otherwise 0
        R-precision  P(R),                                        P(i) = (rel(1) + ... + rel(i)) / i
        MAP@R        1 / R * sum over i = 1, ..., R of P(i) rel(i)

    Each is averaged over the queries: all rows but those with R = 0, which can find nothing and are counted in
    `left_out`; as others' neighbours they stay. Of rows with equal cosines the one of the lower index comes first. The
    cosine with a row of zeros is 0. No n x n matrix is stored: queries go through in blocks, split over the devices,
    and of each the largest R (and 8) neighbours are sorted.

    Args:
      features: floating [n, f], of any length.
      labels: integer [n], 0 or more.
      mesh: the devices; None: all. With several processes each calls this with the same rows.

    Raises:
      ValueError: an argument has another form, features that are not finite, or no two rows of one class.

    References:
      Musgrave et al., A Metric Learning Reality Check, ECCV 2020 (arXiv 2003.08505), Sec. 3.2: R-precision and MAP@R.
      Oh Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016, Sec. 6: recall@k.

    Examples:
      >>> retrieval_metrics([[1.0, 0.0], [0.9, 0.1], [0.8, 0.3], [0.0, 1.0]], [0, 0, 1, 1]).recall_at_1
      0.75
    """
    rows = near_unit(check_features("features", features))
    classes = check_labels("labels", labels, num_classes=np.iinfo(np.int32).max, rows=len(rows))
    _, inverse, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    others = sizes[inverse] - 1
    queries = np.flatnonzero(others)
    if not len(queries):
        raise ValueError(
            f"labels must have at least two rows of one class, got {len(rows):,}, each of its own."
        )
    mesh = make_mesh() if mesh is None else mesh
    # The same blocks on any number of devices, so that every cosine is the same number.
    block = int(np.clip(_CELLS // len(rows), 1, 256))
    padded = np.resize(queries, -(-len(queries) // (block * mesh.size)) * block * mesh.size).astype(np.int32)
    first, within, precisions = _rank(
        split_batch(padded[local_rows(len(padded), mesh)], mesh),
        replicate(rows, mesh),
        replicate(classes, mesh),
        replicate(others.astype(np.int32), mesh),
        mesh=mesh,
        block=block,
        depth=int(min(max(*_CUTOFFS, others.max()), len(rows) - 1)),
    )
    first, within, precisions = (np.asarray(x)[: len(queries)] for x in (first, within, precisions))
    recall_at_1, recall_at_2, recall_at_4, recall_at_8 = (float(np.mean(first <= k)) for k in _CUTOFFS)
    r_precision, map_at_r = (float(np.mean(x / others[queries])) for x in (within, precisions))
    left_out = len(rows) - len(queries)
    return Retrieval(
        recall_at_1, recall_at_2, recall_at_4, recall_at_8, r_precision, map_at_r, len(queries), left_out
    )


@functools.partial(jax.jit, static_argnames=("mesh", "block", "depth"))
def _rank(
    queries: jax.Array,
    rows: jax.Array,
    labels: jax.Array,
    others: jax.Array,
    *,
    mesh: Mesh,
    block: int,
    depth: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of each query: the place of the first row of its class, how many come by place R, and the sum of P(i) rel(i)."""

    def one_device(
        queries: jax.Array, rows: jax.Array, labels: jax.Array, others: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        rows = unit(rows)
        places = jnp.arange(1, depth + 1)

        def one_block(asked: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            cosines = jnp.matmul(rows[asked], rows.T, precision=lax.Precision.HIGHEST)
            # top_k sorts -0 below 0, which are equal; and no query finds itself.
            cosines = jnp.where(cosines == 0, 0, cosines).at[jnp.arange(block), asked].set(-jnp.inf)
            _, nearest = lax.top_k(cosines, depth)  # of equal ones the lower index first
            relevant = labels[nearest] == labels[asked][:, None]
            first = jnp.where(relevant.any(axis=1), jnp.argmax(relevant, axis=1) + 1, len(rows))
            found = relevant & (places <= others[asked][:, None])
            precisions = jnp.where(found, jnp.cumsum(relevant, axis=1) / places, 0)
            return first, found.sum(axis=1), precisions.sum(axis=1)

        blocks = lax.map(one_block, queries.reshape(-1, block))
        return jax.tree.map(lambda x: x.reshape(-1), blocks)

    mapped = jax.shard_map(
        one_device, mesh=mesh, in_specs=(P(DATA_AXIS), P(), P(), P()), out_specs=P(DATA_AXIS)
    )
    # On every device: each process can read the result, whichever devices are its own.
    return jax.tree.map(
        lambda x: lax.with_sharding_constraint(x, NamedSharding(mesh, P())),
        mapped(queries, rows, labels, others),
    )
