"""What the public functions here are given, checked: one sentence names argument, value and what is expected."""

import numbers
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tcl_jax.data import Split
from tcl_jax.data.lazy import LazyImages
from tcl_jax.losses.arguments import as_array, as_number
from tcl_jax.parallel import check_divides


def check_features(
    name: str, value: Any, *, width: int | None = None, rows: int | None = None, finite: bool = True
) -> np.ndarray:
    """Features as float32 [n, f], n and f 1 or more; float64 stays float64.

    Args:
      width: f, where it must be that of other features.
      rows: n, where it must be that of labels.
      finite: whether every number must be.

    Raises:
      ValueError: the value has another form, or rows that are not finite.
    """
    array = np.asarray(as_array(name, value))
    wanted = f"[{'n' if rows is None else rows}, {'f' if width is None else width}]"
    if (
        array.ndim != 2
        or not jnp.issubdtype(array.dtype, jnp.floating)
        or width not in (None, array.shape[1])
        or rows not in (None, len(array))
    ):
        raise ValueError(f"{name} must be floating {wanted}, got {_described(array)}.")
    if 0 in array.shape:
        raise ValueError(f"{name} must have at least one row and one column, got {_described(array)}.")
    if finite and (bad := count_not_finite(array)):
        raise ValueError(
            f"{name} must be finite, got {bad:,} of {len(array):,} rows with NaN or infinite numbers."
        )
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def check_labels(
    name: str, value: Any, *, num_classes: int, rows: int | None = None, unlabelled: bool = False
) -> np.ndarray:
    """Class numbers as int32 [n], 0 to num_classes - 1, n 1 or more.

    Args:
      rows: n, where it must be that of other rows.
      unlabelled: whether -1 may stand for a class that is not known.

    Raises:
      ValueError: the value has another form, or numbers out of this range.
    """
    array = np.asarray(as_array(name, value))
    if (
        array.ndim != 1
        or not len(array)
        or not jnp.issubdtype(array.dtype, jnp.integer)
        or (rows is not None and len(array) != rows)
    ):
        raise ValueError(
            f"{name} must be integer [{'n' if rows is None else rows}], a class number for each row, "
            f"got {_described(array)}."
        )
    first = -1 if unlabelled else 0
    bad = array[(array < first) | (array >= num_classes)]
    if len(bad):
        raise ValueError(
            f"{name} must be {first} to {num_classes - 1}, got {len(bad):,} of {len(array):,} that are not, the first "
            f"of them {bad[0]}."
        )
    return array.astype(np.int32)


def check_count(name: str, value: Any) -> int:
    """A whole number, 1 or more.

    Raises:
      ValueError: the value is not one.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more, got {value!r}.")
    return int(value)


def check_above_zero(name: str, value: Any) -> float:
    """A number above 0 that float32 can hold.

    Raises:
      ValueError: the value is not one.
    """
    return float(as_number(name, value, np.dtype(np.float32), above_zero=True))


def check_split(split: Split, batch_size: Any, mesh: Mesh) -> int:
    """The size of the batches in which the images of a split are read.

    Raises:
      ValueError: the images are not uint8 [n, h, w, c] with n of 1 or more, there are not as many labels, or
        batch_size is not a whole number that the devices divide.
    """
    images, labels = split
    is_uint8 = isinstance(images, LazyImages) or getattr(images, "dtype", None) == np.uint8
    if not is_uint8 or len(images.shape) != 4 or not len(images):
        raise ValueError(
            f"The images of a split must be uint8 [n, h, w, c], at least one, got {_described(images)}."
        )
    if np.shape(labels) != (len(images),):
        raise ValueError(
            f"The labels of a split must be integer [{len(images)}], one for each image, got "
            f"{_described(np.asarray(labels, object))}."
        )
    size = check_count("batch_size", batch_size)
    check_divides("batch_size", size, mesh)
    return size


def count_not_finite(rows: np.ndarray) -> int:
    """Rows of [n, f] that hold NaN or an infinite number."""
    return int(np.count_nonzero(~np.isfinite(rows).all(axis=1)))


def _described(array: Any) -> str:
    return f"{getattr(array, 'dtype', type(array).__name__)} {list(np.shape(array))}"
