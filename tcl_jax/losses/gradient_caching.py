"""Gradient caching: the rows of a large batch from an encoder that holds the activations of a few of them."""

import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def micro_batched(encode: Callable[..., Any], size: int, *, has_state: bool = False) -> Callable[..., Any]:
    """`encode` in parts of at most `size` rows: the same outputs and gradient, with the activations of one part.

        z = micro_batched(encode, 256)(params, images, keys)   # as encode(params, images, keys)
        loss = losses.supcon_loss(z, labels)                   # of the whole batch

    The gradient is exact, not a mean of gradients of smaller losses: autodiff keeps z, and encodes one part after the
    other again once the derivative by z is known. The price is this second forward pass. A batch of up to `size` rows
    goes through `encode` as it is. The parts have equal length and are one compiled loop; where that does not divide
    the number of rows, the last part begins a few rows earlier, and their second outputs are dropped.

    The result is the whole batch's if `encode` makes each output from its own row. BatchNorm normalises each part by
    itself. Random keys are rows: `encode` gets keys[i] with row i. Inside `jax.shard_map` and `jax.pmap`, rows are
    those of one device.

    Args:
      encode: pure function (shared, *rows) -> outputs; with `has_state` (shared, state, *rows) -> (outputs, state).
        rows, outputs: trees of arrays [n, ...], one entry for each row. shared: what all rows need, such as parameters,
        an `equinox.Module`, or an `nnx.Module` that the call does not change. What it closes over is shared, too.
      size: at least 1.
      has_state: hand a state, such as running statistics, from each part to the next, in order. It keeps its tree,
        shapes and dtypes, as the carry of `jax.lax.scan`. The parts must divide the number of rows.

    Raises:
      ValueError: a size that is not a positive whole number; when called, rows or outputs that are not such trees, no
        rows, or parts that a state cannot go through.

    Source: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, RepL4NLP 2021,
      arXiv 2101.06983.
    """
    if not isinstance(size, numbers.Integral) or isinstance(size, bool) or size < 1:
        raise ValueError(f"size must be a positive whole number of rows, got {size!r}.")
    if not has_state:
        with_state = micro_batched(
            lambda shared, none, *rows: (encode(shared, *rows), none), size, has_state=True
        )
        return lambda shared, *rows: with_state(shared, (), *rows)[0]

    def in_parts(shared: Any, state: Any, *rows: Any) -> tuple[Any, Any]:
        count = _number_of_rows(rows)
        if count <= size:
            return _encode(encode, shared, state, rows)
        parts = -(-count // int(size))
        length = -(-count // parts)
        last = (parts - 1) * length
        twice = last + length - count  # rows that are in the last two parts
        if twice and jax.tree.leaves(state):
            raise ValueError(f"With a state, size must divide the number of rows: {size} for {count} rows.")

        def split(x: Any) -> Any:
            all_parts = jnp.concatenate([x[:last], x[last - twice :]]) if twice else x
            return all_parts.reshape(parts, length, *x.shape[1:])

        def join(x: jax.Array) -> jax.Array:
            all_parts = x.reshape(parts * length, *x.shape[2:])
            return jnp.concatenate([all_parts[:last], all_parts[last + twice :]]) if twice else all_parts

        shared = _varying_like(rows, shared)

        def part(state: Any, rows: Any) -> tuple[Any, Any]:
            outputs, state = _encode(encode, shared, state, rows)
            return state, outputs

        # Nothing outside of a scan's body can be merged with what is inside, which prevent_cse would guard against.
        state, outputs = lax.scan(jax.checkpoint(part, prevent_cse=False), state, jax.tree.map(split, rows))
        return jax.tree.map(join, outputs), state

    return in_parts


def _encode(encode: Callable[..., Any], shared: Any, state: Any, rows: tuple[Any, ...]) -> tuple[Any, Any]:
    returned = encode(shared, state, *rows)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise ValueError(
            f"With has_state, encode must return (outputs, state), got a {type(returned).__name__}."
        )
    count, shapes = _number_of_rows(rows), _shapes(returned[0])
    if {shape[:1] for shape in shapes} != {(count,)}:
        raise ValueError(f"encode must return arrays [{count}, ...] for {count} rows, got shapes {shapes}.")
    return returned


def _number_of_rows(rows: tuple[Any, ...]) -> int:
    shapes = _shapes(rows)
    lengths = {shape[:1] for shape in shapes}
    if len(lengths) != 1 or lengths <= {(), (0,)}:
        raise ValueError(
            f"micro_batched needs arrays [n, ...] with an entry for each of n >= 1 rows, got shapes {shapes}: let the "
            "first argument, or encode itself, hold what all rows share, and split a random key into one for each row."
        )
    return shapes[0][0]


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    return sorted({np.shape(x) for x in jax.tree.leaves(tree)})


def _varying_like(rows: Any, shared: Any) -> Any:
    """The same values, varying over every mesh axis of shard_map that a row varies over.

    So autodiff sums their gradient over devices where they begin to vary: once, not in each round of the loop.
    """
    firsts = [x[0].reshape(-1)[:1] for x in jax.tree.leaves(rows)]
    zero = sum((jnp.sum((x == x) & False) for x in firsts), start=jnp.int32(0))  # XLA leaves nothing of it

    def vary(x: Any) -> Any:
        is_floating = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, np.inexact)
        return x + zero.astype(x.dtype) if is_floating else x

    return jax.tree.map(vary, shared)
