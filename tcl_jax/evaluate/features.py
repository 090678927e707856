"""Features of every example of a split, by the frozen encoder."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax.augment import normalize
from tcl_jax.data import Split, padded_batches
from tcl_jax.models import ContrastiveModel
from tcl_jax.parallel import DATA_AXIS, local_rows, split_batch

Encode = Callable[[Mapping[str, Any], Any], jax.Array]
"""(variables of the model, uint8 images [b, h, w, c]) -> features [b, f], compiled."""


def make_encode(
    model: ContrastiveModel, *, mean: Sequence[float], std: Sequence[float], mesh: Mesh
) -> Encode:
    """The encoder with its running statistics, compiled for batches split over `mesh`.

    Args:
      mean, std: [c], of the pixels divided by 255.
    """

    def encode(variables: Mapping[str, Any], images: jax.Array) -> Any:
        return model.apply(variables, normalize(images, mean=mean, std=std), train=False, method="encode")

    mapped = jax.shard_map(encode, mesh=mesh, in_specs=(P(), P(DATA_AXIS)), out_specs=P(DATA_AXIS))
    # All features on every device: each process can read them, whichever devices are its own.
    return jax.jit(mapped, out_shardings=NamedSharding(mesh, P()))


def extract_features(
    encode: Encode, variables: Mapping[str, Any], split: Split, *, batch_size: int, mesh: Mesh
) -> np.ndarray:
    """Encoder features (not projections) of all images as they are, without augmentation: float [n, f].

    Args:
      encode: from `make_encode`.
      variables: "params" and "batch_stats" of the model; they are not changed.
      batch_size: images at a time over all devices, a multiple of their number; the last batch is padded.
    """
    features = [
        np.asarray(encode(variables, split_batch(batch.images, mesh)))
        for batch in padded_batches(split, batch_size, rows=local_rows(batch_size, mesh))
    ]
    return np.concatenate(features)[: len(split.labels)]
