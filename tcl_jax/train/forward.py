"""From images to what the loss takes, at once or in micro-batches whose activations are not kept."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tcl_jax.augment.views import Views
from tcl_jax.data import Batch
from tcl_jax.losses import micro_batched
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
    method: str = "__call__",
) -> tuple[Any, Mapping[str, Any]]:
    """Outputs of the model in training, [v b, d] view by view, and the new running statistics; inside shard_map.

    The rows of this device are taken in `micro_batches` equal parts, in order, by `tcl_jax.losses.micro_batched`: the
    gradient is exact, the memory that of one part. BatchNorm normalises each part by the statistics of that part (over
    all devices where it is synchronised), and its running statistics take the parts in one after the other.

    Args:
      views: (key of the epoch, images, indices) -> augmented views.
      batch_stats: empty for a model without BatchNorm.
      dropout_key: of the epoch; the masks of a row follow from it, the example and the number of the view.
      micro_batches: a divisor of the number of rows.
      method: of the model; the outputs are what it gives, an array or a tuple of arrays.
    """

    def encode(params: Any, batch_stats: Any, batch: Batch) -> tuple[Any, Any]:
        images = views(key, batch.images, batch.indices)
        num_views = len(images) // len(batch.indices)
        variables = {"params": params, "batch_stats": batch_stats}
        with dropout_by_row(row_keys(dropout_key, batch.indices, num_views)):
            outputs, updated = model.apply(
                variables,
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
                method=method,
            )
        return jax.tree.map(lambda x: jnp.split(x, num_views), outputs), updated.get("batch_stats", {})

    if not sync_batch_norm:
        batch_stats = jax.tree.map(lambda x: lax.pcast(x, DATA_AXIS, to="varying"), batch_stats)
    encode_in_parts = micro_batched(encode, len(batch.indices) // micro_batches, has_state=True)
    by_view, batch_stats = encode_in_parts(params, batch_stats, batch)
    return jax.tree.map(jnp.concatenate, by_view, is_leaf=lambda x: isinstance(x, list)), batch_stats
