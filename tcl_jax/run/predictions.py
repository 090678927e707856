"""The classes that an evaluation predicted, kept so that no probe is trained again to show them."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def pack(predictions: Mapping[str, np.ndarray], labels: np.ndarray, *, params_sha256: str) -> bytes:
    """The bytes of predictions.npz: an array for each of the predictions, the true labels, and whose they are."""
    file = io.BytesIO()
    arrays: dict[str, Any] = {f"by_{name}": found for name, found in predictions.items()}
    np.savez(file, labels=labels, params_sha256=params_sha256, **arrays)
    return file.getvalue()


def unpack(data: bytes, *, labels: np.ndarray, params_sha256: str) -> dict[str, np.ndarray] | None:
    """The predictions in `pack`'s bytes, or None where they are damaged, or of other parameters or other images.

    >>> stored = pack({"knn": np.array([1, 0])}, np.array([1, 1]), params_sha256="a")
    >>> unpack(stored, labels=np.array([1, 1]), params_sha256="a")
    {'knn': array([1, 0])}
    >>> unpack(stored, labels=np.array([1, 1]), params_sha256="b")
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    if str(arrays.pop("params_sha256", "")) != params_sha256:
        return None
    if not np.array_equal(arrays.pop("labels", np.empty(0)), labels):
        return None
    return {name.removeprefix("by_"): array for name, array in arrays.items()}
