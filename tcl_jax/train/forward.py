"""From images to what the loss takes, at once or in micro-batches whose activations are not kept."""

from collections.abc import Mapping
from typing import Any

import jax
from jax import lax

from tcl_jax.augment.views import Views
from tcl_jax.data import Batch
from tcl_jax.models import ContrastiveModel
from tcl_jax.models.dropout import dropout_by_row, row_keys
from tcl_jax.parallel import DATA_AXIS


def forward(
    model: ContrastiveModel,
    views: Views,
    params: Any,
    batch_stats: Any,
    key: jax.Array,
    batch: Batch,
    *,
    dropout_key: jax.Array,
    micro_batches: int,
    sync_batch_norm: bool,
) -> tuple[jax.Array, Mapping[str, Any]]:
    """Outputs of the model in training, [v b, d] view by view, and the new running statistics; inside shard_map.

    The rows of this device are taken in `micro_batches` equal parts, in order. Autodiff of the result is exact: it
    keeps the outputs of all parts, and computes the activations of one part after the other again when their gradient
    is known. So memory is that of one part, for the price of a second forward pass. This is gradient caching (Gao et
    al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, arXiv 2101.06983), made by autodiff.
    BatchNorm normalises each part by the statistics of that part (over all devices where it is synchronised), and its
    running statistics take the parts in one after the other.

    Args:
      views: (key of the epoch, images, indices) -> augmented views.
      batch_stats: empty for a model without BatchNorm.
      dropout_key: of the epoch; the masks of a row follow from it, the example and the number of the view.
      micro_batches: a divisor of the number of rows.
    """

    def part(batch_stats: Any, batch: Batch) -> tuple[Any, jax.Array]:
        images = views(key, batch.images, batch.indices)
        variables = {"params": params, "batch_stats": batch_stats}
        with dropout_by_row(row_keys(dropout_key, batch.indices, len(images) // len(batch.indices))):
            outputs, updated = model.apply(
                variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": dropout_key}
            )
        return updated.get("batch_stats", {}), outputs

    if micro_batches == 1:
        batch_stats, outputs = part(batch_stats, batch)
        return outputs, batch_stats
    # Autodiff sums their gradient over devices where they begin to vary: once, outside of the scan.
    params = jax.tree.map(lambda x: lax.pcast(x, DATA_AXIS, to="varying"), params)
    if not sync_batch_norm:
        batch_stats = jax.tree.map(lambda x: lax.pcast(x, DATA_AXIS, to="varying"), batch_stats)
    parts = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), batch)
    # Nothing outside of a scan's body can be merged with what is inside, which prevent_cse would guard against.
    batch_stats, outputs = lax.scan(jax.checkpoint(part, prevent_cse=False), batch_stats, parts)
    images = parts.indices.shape[1]
    of_views = outputs.reshape(micro_batches, -1, images, outputs.shape[-1])
    return of_views.swapaxes(0, 1).reshape(-1, outputs.shape[-1]), batch_stats
