"""Features of mean 0 and deviation 1: what learns from them depends neither on their scale nor on their offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

_BLOCK = 4096  # rows that are in float64 at a time


class Standardisation(NamedTuple):
    """Mean and standard deviation of each feature: [f], in the dtype of the features."""

    mean: Float[np.ndarray, " f"]
    deviation: Float[np.ndarray, " f"]


def standardisation(features: Float[np.ndarray, "n f"]) -> Standardisation:
    """Mean and standard deviation of each column of float [n, f], summed in float64.

    A column that is constant, up to the rounding of its values, has deviation 1, so that it can be divided by.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    blocks = (features[start : start + _BLOCK] for start in range(0, len(features), _BLOCK))
    squares = sum(np.sum((block - mean) ** 2, axis=0) for block in blocks)
    deviation = np.sqrt(squares / len(features))
    constant = deviation <= np.finfo(features.dtype).eps * np.abs(mean)
    return Standardisation(
        mean.astype(features.dtype), np.where(constant, 1.0, deviation).astype(features.dtype)
    )


def standardise(features: Any, by: Standardisation) -> Any:
    """(features - mean) / deviation, [m, f], of NumPy or JAX."""
    return (features - by.mean) / by.deviation
