"""Features of every example of a split, by the frozen encoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from tcl_jax.augment import normalize
from tcl_jax.data import Split, padded_batches
from tcl_jax.models import ContrastiveModel
from tcl_jax.parallel import DATA_AXIS, split_batch


def extract_features(
    model: ContrastiveModel,
    variables: Mapping[str, Any],
    split: Split,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    mesh: Mesh,
) -> np.ndarray:
    """Encoder features (not projections) of all images, as they are, with the running statistics: float [n, f].

    Args:
      variables: "params" and "batch_stats" of the model; they are not changed.
      mean, std: [c], of the pixels divided by 255.
      batch_size: images at a time, over all devices; a multiple of their number.
    """

    def encode(variables: Mapping[str, Any], images: jax.Array) -> Any:
        return model.apply(variables, normalize(images, mean=mean, std=std), train=False, method="encode")

    mapped = jax.jit(jax.shard_map(encode, mesh=mesh, in_specs=(P(), P(DATA_AXIS)), out_specs=P(DATA_AXIS)))
    features = [
        np.asarray(mapped(variables, split_batch(batch.images, mesh)))[batch.weights > 0]
        for batch in padded_batches(split, batch_size)
    ]
    return np.concatenate(features)
