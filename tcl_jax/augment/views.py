"""Views of a batch: one policy for each, with a random key for each example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from tcl_jax.augment.policies import Policy
from tcl_jax.pixels import normalize

if TYPE_CHECKING:
    from jaxtyping import Float, Integer, PRNGKeyArray, UInt8

Array = jax.Array | np.ndarray
Views = Callable[[jax.Array, Array, Array], jax.Array]
"""(key of the epoch, uint8 images [b, h, w, c], example indices [b]) -> float views [v b, h, w, c], view by view."""


def make_views(policies: Sequence[Policy], *, mean: Sequence[float], std: Sequence[float]) -> Views:
    """A function from images to one normalised view by each policy, stacked view by view.

    The random key of a view is fold_in(fold_in(key, example index), view number). A view therefore depends on nothing
    but the key, the example and its place among the views: not on the batch around it, nor on the device.

    Args:
      policies: one for each view, at least one.
      mean, std: [c], of the pixels divided by 255, as for `normalize`.
    """

    def views(
        key: PRNGKeyArray, images: UInt8[Array, "b h w c"], indices: Integer[Array, " b"]
    ) -> Float[jax.Array, "vb h w c"]:
        def one(policy: Policy, number: int) -> jax.Array:
            def augment(image: jax.Array, index: jax.Array) -> jax.Array:
                return policy(jax.random.fold_in(jax.random.fold_in(key, index), number), image)

            return jax.vmap(augment)(jnp.asarray(images), jnp.asarray(indices))

        stacked = jnp.concatenate([one(policy, number) for number, policy in enumerate(policies)])
        return normalize(stacked, mean=mean, std=std)

    return views
