"""The methods in JAX: ours, optax's, and the matrix products that no exact method can do without."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.methods import Prepared
from benchmarks.problems import K1, K2, TEMPERATURE, VIEWS, Problem
from tcl_jax import losses

PRODUCT_ROWS = 512


def tcl(problem: Problem, block_size: Any = "auto") -> Prepared:
    def loss(rows: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.tcl_loss(rows, labels, temperature=TEMPERATURE, k1=K1, k2=K2, block_size=block_size)

    return _compiled(jax.value_and_grad(loss), problem, problem.labels)


def tcl_dense(problem: Problem) -> Prepared:
    return tcl(problem, block_size=None)


def supcon(problem: Problem) -> Prepared:
    def loss(rows: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.supcon_loss(rows, labels, temperature=TEMPERATURE)

    return _compiled(jax.value_and_grad(loss), problem, problem.labels)


def ntxent(problem: Problem) -> Prepared:
    def loss(rows: jax.Array, _: jax.Array) -> jax.Array:
        return losses.ntxent_loss(rows, num_views=VIEWS, temperature=TEMPERATURE)

    return _compiled(jax.value_and_grad(loss), problem, problem.images)


def ntxent_optax(problem: Problem) -> Prepared:
    import optax

    def loss(rows: jax.Array, images: jax.Array) -> jax.Array:
        return optax.ntxent(rows.astype(jnp.float32), images, TEMPERATURE)

    return _compiled(jax.value_and_grad(loss), problem, problem.images)


def products(problem: Problem) -> Prepared:
    """s = z_i z^T once forward and once backward, and s z: 6 n^2 d operations, in blocks of rows."""

    def product(left: jax.Array, right: jax.Array) -> jax.Array:
        return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)

    def run(rows: jax.Array, _: jax.Array) -> tuple[jax.Array, jax.Array]:
        z = rows.astype(jnp.float32)
        blocks = z.reshape(-1, PRODUCT_ROWS, z.shape[1])

        # Two loops that each return something of theirs. In one loop the barrier alone would not do: XLA takes it out
        # late, and then drops the product that is not read.
        def forward(block: jax.Array) -> jax.Array:
            return lax.optimization_barrier(product(block, z.T))[:, 0]

        def backward(block: jax.Array) -> jax.Array:
            return product(lax.optimization_barrier(product(block, z.T)), z)

        return lax.map(forward, blocks), lax.map(backward, blocks).reshape(z.shape)

    # A single block is not a loop, and there XLA does take the two equal products for one.
    least_flops = 6 * PRODUCT_ROWS * problem.embeddings.size if problem.size > PRODUCT_ROWS else 0
    prepared = _compiled(run, problem, problem.labels, least_flops)
    return prepared._replace(read=lambda _: (0.0, np.zeros(())))


def _compiled(
    function: Callable[..., Any], problem: Problem, labels: np.ndarray, least_flops: int = 0
) -> Prepared:
    """`function(rows, labels)`, compiled ahead, so that no compilation is timed."""
    arguments = jnp.asarray(problem.embeddings, problem.dtype), jnp.asarray(labels)
    compiled = jax.jit(function).lower(*arguments).compile()
    # A loop counts once here, whatever its length.
    flops = (compiled.cost_analysis() or {}).get("flops")
    if jax.default_backend() == "cpu" and flops is not None and flops < least_flops:
        raise RuntimeError(
            f"XLA removed a matrix product: {flops:.3g} operations instead of {least_flops:.3g}"
        )
    memory = compiled.memory_analysis()

    def read(result: Any) -> tuple[float, np.ndarray]:
        loss, gradient = result
        return float(loss), np.asarray(gradient.astype(jnp.float32))

    return Prepared(
        lambda: jax.block_until_ready(compiled(*arguments)),
        read,
        memory.temp_size_in_bytes + memory.output_size_in_bytes if memory else None,
    )
