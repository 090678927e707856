"""The frozen encoder, compiled: images as they are, features out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax.models.contrastive import ContrastiveModel
from tcl_jax.models.layout import of_encoder
from tcl_jax.parallel import DATA_AXIS
from tcl_jax.pixels import normalize

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Real

Encode = Callable[[Mapping[str, Any], Any], jax.Array]
"""(variables of the model, uint8 images [b, h, w, c]) -> features [b, f], compiled."""


def make_apply(
    model: ContrastiveModel, *, mean: Sequence[float], std: Sequence[float]
) -> Callable[[Mapping[str, Any], Any], jax.Array]:
    """(variables of the encoder, images 0 to 255 [b, h, w, c]) -> features [b, f], with its running statistics.

    Args:
      mean, std: [c], of the pixels divided by 255.
    """

    def apply(variables: Mapping[str, Any], images: Real[Array, "b h w c"]) -> Float[Array, "b f"]:
        of_model = {kind: {"encoder": tree} for kind, tree in variables.items()}
        features: Any = model.apply(
            of_model, normalize(images, mean=mean, std=std), train=False, method="encode"
        )
        return features

    return apply


def make_encode(
    model: ContrastiveModel, *, mean: Sequence[float], std: Sequence[float], mesh: Mesh
) -> Encode:
    """The encoder with its running statistics, compiled for batches split over `mesh`.

    Args:
      mean, std: [c], of the pixels divided by 255.
    """

    apply = make_apply(model, mean=mean, std=std)
    return _over_devices(lambda variables, images: apply(of_encoder(variables), images), mesh)


def make_apply_head(model: ContrastiveModel, mesh: Mesh) -> Encode:
    """(variables, features [b, f]) -> what the head makes of them [b, d], compiled for batches split over `mesh`."""

    def apply_head(variables: Mapping[str, Any], features: Float[Array, "b f"]) -> Float[Array, "b d"]:
        outputs: Any = model.apply(variables, features, method="apply_head")
        return outputs

    return _over_devices(apply_head, mesh)


def _over_devices(function: Callable[..., Any], mesh: Mesh) -> Encode:
    mapped = jax.shard_map(function, mesh=mesh, in_specs=(P(), P(DATA_AXIS)), out_specs=P(DATA_AXIS))
    # The result on every device: each process can read it, whichever devices are its own.
    return jax.jit(mapped, out_shardings=NamedSharding(mesh, P()))
