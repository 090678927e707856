"""Rows, labels, weights and numbers as callers give them. Values are checked where they are known: not under jit."""

import numbers
from collections.abc import Hashable
from typing import Any, Literal, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from tcl_jax.losses.batch import Split

Array = jax.Array | np.ndarray
BlockSize = int | Literal["auto"] | None

_DENSE_BYTES = 32 * 2**20
# Arrays of size n x n that the dense form holds at a time, about; and how many more with two towers and soft labels.
_DENSE_ARRAYS, _OF_TWO_TOWERS, _OF_SOFT_LABELS = 7, 5, 3

# By the dtype of the rows.
_COMPUTED_IN = {"bfloat16": "float32", "float16": "float32", "float32": "float32", "float64": "float64"}
_NUMBERED = "np.unique(labels, return_inverse=True)[1]"


def as_array(name: str, value: ArrayLike) -> Array:
    """An array of JAX as it is, anything else as NumPy reads it, of any dtype; raises ValueError for ragged lists."""
    if isinstance(value, jax.Array):
        return value
    if hasattr(value, "__jax_array__"):  # a parameter of flax.nnx
        return value.__jax_array__()
    try:
        return np.asarray(value)
    except jax.errors.TracerArrayConversionError:  # a list of traced values
        return jnp.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got lists of unequal lengths.") from error


def as_rows(embeddings: ArrayLike, name: str = "embeddings") -> tuple[jax.Array, np.dtype]:
    """Floating [n, d], and the dtype in which the loss is computed."""
    rows = as_array(name, embeddings)
    if rows.ndim != 2 or str(rows.dtype) not in _COMPUTED_IN:
        raise ValueError(f"{name} must be floating [n, d], of 16, 32 or 64 bits, got {_form(rows)}.")
    if len(rows) == 0:
        raise ValueError(f"{name} has no rows: give at least one, and weight 0 to those that are padding.")
    rows = jnp.asarray(rows)
    return rows, jax.dtypes.canonicalize_dtype(_COMPUTED_IN[str(rows.dtype)])


def as_labels(labels: ArrayLike, count: int, dtype: np.dtype, name: str = "labels") -> jax.Array:
    """Class numbers, integer [count], or soft labels, floating [count, c] >= 0 in the dtype of the computation."""
    array = as_array(name, labels)
    if array.ndim == 2 and len(array) == count and jnp.issubdtype(array.dtype, np.floating):
        return _soft_labels(array, dtype, name)
    if array.shape != (count,) or not jnp.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} must be integer [{count}], one for each row, or floating [{count}, classes], got {_form(array)}: "
            f"{_NUMBERED} numbers classes of any names."
        )
    return _as_integers(array, name)


def _soft_labels(array: Array, dtype: np.dtype, name: str) -> jax.Array:
    known = _value(array, np.dtype(np.float64))
    # NaN is neither; the length may exceed 1 by the rounding of 16-bit numbers.
    if known is not None and not (np.all(known >= 0) and np.all(np.sum(known**2, axis=1) <= 1.01)):
        raise ValueError(
            f"{name}, floating [n, classes], must be at least 0, and no row longer than 1 (sum of squares): give "
            "probabilities, or divide rows of several ones by their length."
        )
    return lax.stop_gradient(jnp.asarray(array, dtype))


def as_left_out(left_out: ArrayLike | None, count: int, name: str = "left_out") -> jax.Array | None:
    """Integer [count], or None."""
    if left_out is None:
        return None
    array = as_array(name, left_out)
    if array.shape != (count,) or not jnp.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be integer [{count}], one for each row, got {_form(array)}.")
    return _as_integers(array, name)


def _as_integers(array: Array, name: str) -> jax.Array:
    """The integers, none of which is changed by JAX's cast of 64 bits to 32."""
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if array.dtype != dtype and not isinstance(array, jax.core.Tracer):
        array = np.asarray(array)
        for number in (array.min(), array.max()):
            if not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
                raise ValueError(
                    f"{name} must fit in {dtype}, got {number}: number the classes by {_NUMBERED}, or set "
                    "jax_enable_x64."
                )
    return jnp.asarray(array, dtype)


def check_comparable(name: str, rows: Array, references: Array) -> None:
    """Whether JAX can compare the integers of rows with those of references, none of them changed by a cast."""
    together = np.promote_types(rows.dtype, references.dtype)
    if jax.dtypes.canonicalize_dtype(together) != together or (rows.dtype.kind == "f") != (
        together.kind == "f"
    ):
        raise ValueError(
            f"{name} are {rows.dtype}, but {name} of references are {references.dtype}: give both in one dtype."
        )


def as_weights(weights: ArrayLike | None, count: int, dtype: np.dtype, name: str = "weights") -> jax.Array:
    """[count], by default all 1."""
    if weights is None:
        return jnp.ones(count, dtype)
    array = as_array(name, weights)
    if array.shape != (count,) or not (_is_real(array) or array.dtype == bool):
        raise ValueError(f"{name} must have shape [{count}], one number for each row, got {_form(array)}.")
    known = _value(array, dtype)
    with np.errstate(over="ignore"):
        allowed = known is None or (np.all(known >= 0) and np.isfinite(np.sum(known)))
    if not allowed:
        raise ValueError(f"{name} must be at least 0 with a finite sum: give 0 to rows to leave out.")
    return jnp.asarray(array, dtype)


def as_number(
    name: str, value: ArrayLike, dtype: np.dtype, *, above_zero: bool = False, any_sign: bool = False
) -> jax.Array:
    """A finite scalar, at least 0, above 0 or of any sign in the dtype."""
    array = as_array(name, value)
    if array.shape != () or not _is_real(array):
        raise ValueError(f"{name} must be a scalar, integer or floating, got {_form(array)}.")
    known = _value(array, dtype)
    # XLA takes numbers below the smallest normal one for 0.
    least = np.finfo(dtype).tiny if above_zero else -np.finfo(dtype).max if any_sign else 0
    if known is not None and not (least <= known < np.inf):
        bound = "above 0 and finite" if above_zero else "finite" if any_sign else "at least 0 and finite"
        raise ValueError(f"{name} must be {bound} in {dtype}, got {array}.")
    return jnp.asarray(array, dtype)


def _is_real(array: Array) -> bool:
    return jnp.issubdtype(array.dtype, np.integer) or jnp.issubdtype(array.dtype, np.floating)


def _form(array: Array) -> str:
    """Dtype and shape, for messages."""
    kind = {np.str_: "strings", np.object_: "objects"}.get(array.dtype.type, array.dtype)
    return f"{kind} {list(array.shape)}"


def _value(array: Array, dtype: np.dtype) -> np.ndarray | None:
    """The array in a dtype, where its value is known here: not one that is traced, nor parts on other hosts."""
    if isinstance(array, jax.core.Tracer):
        return None
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        return None
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(array).astype(dtype)


def as_split(
    axis_name: Hashable | None,
    block_size: BlockSize,
    rows: int,
    columns: int,
    dtype: np.dtype,
    *,
    two_towers: bool = False,
    soft_labels: bool = False,
) -> Split:
    """How the pairs of `rows` and `columns` on each device are divided."""
    if block_size is None:
        return Split(axis_name, None)
    if isinstance(block_size, str) and block_size == "auto":
        pairs = rows * columns * Split(axis_name, None).num_devices
        arrays = _DENSE_ARRAYS + two_towers * _OF_TWO_TOWERS + soft_labels * _OF_SOFT_LABELS
        if pairs * arrays * np.dtype(dtype).itemsize <= _DENSE_BYTES:
            return Split(axis_name, None)
        return Split(axis_name, best_block_size(jax.default_backend()))
    if is_count(block_size) and block_size > 0:
        return Split(axis_name, int(block_size))
    raise ValueError(f'block_size must be None, "auto" or a positive number of rows, got {block_size!r}.')


def best_block_size(platform: str) -> int:
    """The block_size of "auto" for large batches on a platform of JAX ("cpu", "gpu", "tpu")."""
    # A tile that fits the cache of a CPU core is fastest there; elsewhere one that is worth a kernel launch.
    return 512 if platform == "cpu" else 4096


def check_reduction(reduction: Any) -> str:
    """ "mean" or "none"."""
    if isinstance(reduction, str) and reduction in ("mean", "none"):
        return reduction
    raise ValueError(f'reduction must be "mean" or "none", got {reduction!r}.')


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is a whole number."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
