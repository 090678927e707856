"""Rows, labels, weights and numbers as callers give them. Values are checked where they are known: not under jit."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Array = jax.Array | np.ndarray

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


def as_rows(embeddings: ArrayLike) -> tuple[jax.Array, np.dtype]:
    """Floating [n, d], and the dtype in which the loss is computed."""
    rows = as_array("embeddings", embeddings)
    if rows.ndim != 2 or str(rows.dtype) not in _COMPUTED_IN:
        raise ValueError(f"embeddings must be floating [n, d], of 16, 32 or 64 bits, got {_form(rows)}.")
    if len(rows) == 0:
        raise ValueError("embeddings has no rows: give at least one, and weight 0 to those that are padding.")
    rows = jnp.asarray(rows)
    return rows, jax.dtypes.canonicalize_dtype(_COMPUTED_IN[str(rows.dtype)])


def as_labels(labels: ArrayLike, count: int) -> jax.Array:
    """Integer [count], none of which is changed by JAX's cast of 64-bit integers to 32 bits."""
    array = as_array("labels", labels)
    if array.shape != (count,) or not jnp.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"labels must be integer [{count}], one for each row of embeddings, got {_form(array)}: "
            f"give class numbers, not one-hot rows; {_NUMBERED} numbers classes of any names."
        )
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if array.dtype != dtype and not isinstance(array, jax.core.Tracer):
        array = np.asarray(array)
        for label in (array.min(), array.max()):
            if not np.iinfo(dtype).min <= label <= np.iinfo(dtype).max:
                raise ValueError(
                    f"labels must fit in {dtype}, got {label}: number the classes by {_NUMBERED}, or set "
                    "jax_enable_x64."
                )
    return jnp.asarray(array, dtype)


def as_weights(weights: ArrayLike | None, count: int, dtype: np.dtype) -> jax.Array:
    """[count], by default all 1."""
    if weights is None:
        return jnp.ones(count, dtype)
    array = as_array("weights", weights)
    if array.shape != (count,) or not (_is_real(array) or array.dtype == bool):
        raise ValueError(f"weights must have shape [{count}], one number for each row, got {_form(array)}.")
    known = _value(array, dtype)
    with np.errstate(over="ignore"):
        allowed = known is None or (np.all(known >= 0) and np.isfinite(np.sum(known)))
    if not allowed:
        raise ValueError("weights must be at least 0 with a finite sum: give 0 to rows to leave out.")
    return jnp.asarray(array, dtype)


def as_number(name: str, value: ArrayLike, dtype: np.dtype, *, above_zero: bool = False) -> jax.Array:
    """A finite scalar, at least 0 or above 0 in the dtype."""
    array = as_array(name, value)
    if array.shape != () or not _is_real(array):
        raise ValueError(f"{name} must be a scalar, integer or floating, got {_form(array)}.")
    known = _value(array, dtype)
    # XLA takes numbers below the smallest normal one for 0.
    least = np.finfo(dtype).tiny if above_zero else 0
    if known is not None and not (least <= known < np.inf):
        bound = "above 0" if above_zero else "at least 0"
        raise ValueError(f"{name} must be {bound} and finite in {dtype}, got {array}.")
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
