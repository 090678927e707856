"""How good the encoder is while it is being trained: a metric of images that training does not see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from tcl_jax.data import Split, TrainValidationSplit
from tcl_jax.evaluate.features import extract_features
from tcl_jax.evaluate.metrics import Metric, measure, of_features
from tcl_jax.models.encode import Encode

if TYPE_CHECKING:
    from jaxtyping import Integer

Validate = Callable[[Mapping[str, Any]], float | None]
"""(variables of the model) -> the metric of the held-out images; None where it means nothing, as `measure` has it."""


def make_validate(
    metric: Metric,
    encode: Encode,
    split: Split,
    indices: TrainValidationSplit,
    *,
    num_classes: int,
    batch_size: int,
    mesh: Mesh,
    true_labels: Integer[np.ndarray, " n"] | None = None,
) -> Validate:
    """A function that measures the held-out images by the features of the encoder.

    The bank takes the place of the training images. Where the metric has no value, or leaves images out, a line says
    why, once for each reason.

    Args:
      metric: of `tcl_jax.evaluate.metrics.OF_FEATURES`.
      encode: from `make_encode`; it compiles nothing anew where the final evaluation has the same batch size.
      split: the training split.
      indices: which of its images are held out, and which are the bank.
      num_classes: labels are 0 to num_classes - 1.
      batch_size: images at a time over all devices, a multiple of their number.
      true_labels: int [n], by which images of the split are judged where its own may be wrong.
    """
    said: set[str] = set()
    held_out, bank = split.select(indices.validation), split.select(indices.bank)
    labels = held_out.labels if true_labels is None else true_labels[indices.validation]

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            tqdm.write(line)

    def validate(variables: Mapping[str, Any]) -> float | None:
        features, bank_features = (
            extract_features(encode, variables, part, batch_size=batch_size, mesh=mesh)
            for part in (held_out, bank)
        )
        available = of_features(
            features,
            labels,
            bank_features,
            bank.labels,
            num_classes=num_classes,
            mesh=mesh,
            say=say_once,
        )
        found = measure(metric, labels, available)
        if found.why_none:
            say_once(f"The metric of the held-out images has no value, as {found.why_none}.")
        return found.value

    return validate
