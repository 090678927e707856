"""What the step minimises, by name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tcl_jax import losses
from tcl_jax.errors import UserError
from tcl_jax.parallel import DATA_AXIS
from tcl_jax.train.state import Hyper

Objective = Callable[[jax.Array, Any, Hyper], jax.Array]
"""(projections [v b, d] of this device, labels [b], hyper) -> loss of the global batch, inside shard_map."""

OBJECTIVE_NAMES = ("tcl", "supcon", "ntxent")


def make_objective(name: str, *, num_views: int) -> Objective:
    """The objective called `name`, for views stacked view by view.

    Raises:
      UserError: an unknown name, or too few views for positives to exist.
    """
    if name not in OBJECTIVE_NAMES:
        raise UserError(
            f"There is no loss {name!r} for loss.name, expected one of {', '.join(OBJECTIVE_NAMES)}."
        )
    if num_views < (2 if name == "ntxent" else 1):
        raise UserError(
            f"augment.views names {num_views} views, too few for the loss {name!r}: "
            "name one policy for each view, usually two."
        )

    def objective(projections: jax.Array, labels: Any, hyper: Hyper) -> jax.Array:
        labels = jnp.tile(labels, num_views)
        if name == "tcl":
            return losses.tcl_loss(
                projections,
                labels,
                temperature=hyper.temperature,
                k1=hyper.k1,
                k2=hyper.k2,
                axis_name=DATA_AXIS,
            )
        if name == "supcon":
            return losses.supcon_loss(projections, labels, temperature=hyper.temperature, axis_name=DATA_AXIS)
        return losses.ntxent_loss(
            projections, num_views=num_views, temperature=hyper.temperature, axis_name=DATA_AXIS
        )

    return objective
