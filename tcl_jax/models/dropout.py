"""Dropout whose masks follow from the example, not from its place in a batch or on a device."""

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike


def row_keys(key: jax.Array, indices: ArrayLike, num_views: int) -> jax.Array:
    """A key for each row of views stacked view by view: fold_in(fold_in(key, index), view), [num_views n].

    Args:
      indices: int [n], of the examples.
    """
    by_index = jax.vmap(jax.random.fold_in, (None, 0))(key, indices)
    by_view = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (None, 0))(by_index, jnp.arange(num_views))
    return by_view.reshape(-1)


def dropout_by_row(keys: jax.Array) -> AbstractContextManager[Any]:
    """While entered, every `nn.Dropout` of an `apply` draws the mask of row i from keys[i] and its own number.

    A run then has the same masks on any number of devices and in any micro-batches. Layers are numbered in the order
    in which they are called. A layer whose input has another number of rows draws from the "dropout" key of `apply`.

    Args:
      keys: [n], one for each row of the inputs.
    """
    numbers = itertools.count()

    def draw(
        next_fun: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        is_dropout = isinstance(context.module, nn.Dropout) and context.method_name == "__call__"
        if not is_dropout or kwargs.get("rng") is not None or jnp.shape(args[0])[:1] != keys.shape:
            return next_fun(*args, **kwargs)
        inputs, *rest = args
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, next(numbers))
        options = {name: value for name, value in kwargs.items() if name != "rng"}
        return jax.vmap(lambda row, key: next_fun(row[None], *rest, **options, rng=key)[0])(inputs, own)

    return nn.intercept_methods(draw)
