"""How good the encoder is while it is being trained: kNN on images that training does not see."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from tcl_jax.data import Division, Split
from tcl_jax.evaluate.features import Encode, extract_features
from tcl_jax.evaluate.knn import knn_predict

Validate = Callable[[Mapping[str, Any]], float]
"""(variables of the model) -> top-1 accuracy of the held-out images, 0 to 1."""


def make_validate(
    encode: Encode, split: Split, division: Division, *, num_classes: int, batch_size: int, mesh: Mesh
) -> Validate:
    """The kNN accuracy of the held-out images of `division` among those of its bank, by encoder features.

    Args:
      encode: from `make_encode`; it compiles nothing anew where the final evaluation has the same batch size.
      split: the training split that `division` divides.
      num_classes: labels are 0 to num_classes - 1.
      batch_size: images at a time over all devices, a multiple of their number.
    """
    queries, bank = split.select(division.validation), split.select(division.bank)

    def validate(variables: Mapping[str, Any]) -> float:
        query_features, bank_features = (
            extract_features(encode, variables, part, batch_size=batch_size, mesh=mesh)
            for part in (queries, bank)
        )
        predicted = knn_predict(query_features, bank_features, bank.labels, num_classes=num_classes)
        return float(np.mean(predicted == queries.labels))

    return validate
