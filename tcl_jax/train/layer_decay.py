"""Learning rates that become smaller from the head to the images."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import optax

from tcl_jax.errors import UserError


def scale_by_layer(
    layer_decay: float, layer_names: Sequence[Sequence[str]] | None
) -> optax.GradientTransformation:
    """Updates of the encoder's layer i of L, from 0 on, times layer_decay^(L - i); all others stay.

    Args:
      layer_decay: above 0 and at most 1.
      layer_names: the L layers in order, each as the names of its modules and parameters, as `ResNet.layer_names`;
        "a/b" is what a module "a" calls "b", and counts before "a".

    Raises:
      UserError: a layer_decay out of range, or no layer_names. `init` raises it for layers that the encoder does not
        have.

    References:
      Clark et al., ELECTRA, arXiv 2003.10555; as in Bao et al., BEiT, arXiv 2106.08254.
    """

    def refuse(problem: str) -> UserError:
        return UserError(
            f"train.layer_decay is {layer_decay}, but the encoder of model.name {problem}: give it an attribute "
            "'layer_names', as (('stem',), ('block_0',), ('block_1',)), or set train.layer_decay to 1."
        )

    if not 0 < layer_decay <= 1:
        raise UserError(f"train.layer_decay is {layer_decay}, expected above 0 and at most 1.")
    if layer_names is None:
        raise refuse("has no attribute 'layer_names'")
    if isinstance(layer_names, str) or any(isinstance(names, str) for names in layer_names):
        raise refuse("has 'layer_names' that are not tuples of names")
    layers = {name: layer for layer, names in enumerate(layer_names) for name in names}

    def scale(path: Any, update: jax.Array) -> jax.Array:
        layer = next((layers[name] for name in _places(path) if name in layers), len(layer_names))
        return update * layer_decay ** (len(layer_names) - layer)

    # A tree without an encoder is the classifier that is trained along, whose rate is that of the head.
    def init(params: Any) -> optax.EmptyState:
        paths = jax.tree.leaves_with_path(params.get("encoder", {}))
        found = {place for path, _ in paths for place in _places(path)}
        if "encoder" in params and (lacking := [name for name in layers if name not in found]):
            raise refuse(f"has no {lacking[0]!r} of its 'layer_names'")
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        scaled = {
            part: jax.tree_util.tree_map_with_path(scale, tree) if part == "encoder" else tree
            for part, tree in updates.items()
        }
        return scaled, state

    return optax.GradientTransformation(init, update)


def _places(path: Any) -> Iterator[str]:
    """The names of a parameter and of the modules around it, from the innermost on: "a/b/kernel", "a/b", "a"."""
    names = [entry.key for entry in path]
    return ("/".join(names[:depth]) for depth in range(len(names), 0, -1))
