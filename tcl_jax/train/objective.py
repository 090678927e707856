"""What the step minimises, by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from tcl_jax import losses
from tcl_jax.data import Batch
from tcl_jax.errors import UserError
from tcl_jax.losses.contrastive import BlockSize
from tcl_jax.parallel import DATA_AXIS
from tcl_jax.train.state import Hyper


class Objective(NamedTuple):
    """Functions of (the model's output [v b, d] of this device, its batch, hyper), inside shard_map.

    Attributes:
      loss: of the global batch.
      diagnostics: `tcl_jax.losses.Diagnostics` of the global batch by name; none for cross-entropy.
    """

    loss: Callable[[jax.Array, Batch, Hyper], jax.Array]
    diagnostics: Callable[[jax.Array, Batch, Hyper], dict[str, jax.Array]]


OBJECTIVE_NAMES = ("tcl", "supcon", "ntxent", "cross_entropy")
LABEL_KINDS = ("class", "image")


def make_objective(name: str, *, labels: str, num_views: int, block_size: BlockSize = "auto") -> Objective:
    """The objective called `name`, for views stacked view by view.

    "tcl", "supcon" and "ntxent" take projections; "cross_entropy" takes the logits of a classifier and is the mean over
    all views.

    Args:
      labels: what makes two rows positives of each other: "class", or "image" for training without class labels (which
        "ntxent" always is).
      num_views: views of each image.
      block_size: rows of a tile, as in `tcl_jax.losses.tcl_loss`; "auto" goes by the devices present.

    Raises:
      UserError: an unknown name, too few views for positives to exist, or labels that the objective cannot use.
    """
    if name not in OBJECTIVE_NAMES:
        raise UserError(
            f"There is no loss '{name}' for loss.name, expected one of {', '.join(OBJECTIVE_NAMES)}."
        )
    if labels not in LABEL_KINDS:
        raise UserError(f"loss.labels is '{labels}', expected one of {', '.join(LABEL_KINDS)}.")
    if name == "cross_entropy" and labels == "image":
        raise UserError("Cross-entropy learns classes, but loss.labels is 'image': set it to 'class'.")
    by_image = name == "ntxent" or labels == "image"
    if num_views < (2 if by_image else 1):
        raise UserError(
            f"augment.views names {num_views} views, too few for the loss '{name}' with loss.labels '{labels}': "
            "name one policy for each view, at least two where images are their own classes."
        )

    def ids(batch: Batch) -> jax.Array:
        # Positions in the split tell the images of the global batch apart.
        return jnp.tile(jnp.asarray(batch.indices if by_image else batch.labels), num_views)

    def loss(outputs: jax.Array, batch: Batch, hyper: Hyper) -> jax.Array:
        common: dict[str, Any] = dict(
            temperature=hyper.temperature, axis_name=DATA_AXIS, block_size=block_size
        )
        if name == "tcl":
            return losses.tcl_loss(outputs, ids(batch), k1=hyper.k1, k2=hyper.k2, **common)
        if name == "supcon":
            return losses.supcon_loss(outputs, ids(batch), **common)
        if name == "ntxent":
            return losses.ntxent_loss(outputs, num_views=num_views, **common)
        each = optax.softmax_cross_entropy_with_integer_labels(outputs, ids(batch))
        return lax.pmean(jnp.mean(each), DATA_AXIS)

    def diagnostics(outputs: jax.Array, batch: Batch, hyper: Hyper) -> dict[str, jax.Array]:
        if name == "cross_entropy":
            return {}
        k1, k2 = (hyper.k1, hyper.k2) if name == "tcl" else (0.0, 1.0)
        figures = losses.diagnostics(
            outputs,
            ids(batch),
            temperature=hyper.temperature,
            k1=k1,
            k2=k2,
            axis_name=DATA_AXIS,
            block_size=block_size,
        )
        return figures._asdict()

    return Objective(loss, diagnostics)
