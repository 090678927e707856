"""What the step minimises, by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from tcl_jax import losses
from tcl_jax.data import Batch
from tcl_jax.errors import UserError
from tcl_jax.parallel import DATA_AXIS
from tcl_jax.train.state import Hyper

Objective = Callable[[jax.Array, Batch, Hyper], jax.Array]
"""(the model's output [v b, d] of this device, its batch, hyper) -> loss of the global batch, inside shard_map."""

OBJECTIVE_NAMES = ("tcl", "supcon", "ntxent", "cross_entropy")
LABEL_KINDS = ("class", "image")


def make_objective(name: str, *, labels: str, num_views: int) -> Objective:
    """The objective called `name`, for views stacked view by view.

    "tcl", "supcon" and "ntxent" take projections; "cross_entropy" takes the logits of a classifier and is the mean over
    all views.

    Args:
      labels: what makes two rows positives of each other: "class", or "image" for training without class labels (which
        "ntxent" always is).
      num_views: views of each image.

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

    def objective(outputs: jax.Array, batch: Batch, hyper: Hyper) -> jax.Array:
        # Positions in the split tell the images of the global batch apart.
        ids = jnp.tile(jnp.asarray(batch.indices if by_image else batch.labels), num_views)
        if name == "cross_entropy":
            return lax.pmean(
                jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, ids)), DATA_AXIS
            )
        common = dict(temperature=hyper.temperature, axis_name=DATA_AXIS)
        if name == "tcl":
            return losses.tcl_loss(outputs, ids, k1=hyper.k1, k2=hyper.k2, **common)
        if name == "supcon":
            return losses.supcon_loss(outputs, ids, **common)
        return losses.ntxent_loss(outputs, num_views=num_views, **common)

    return objective
