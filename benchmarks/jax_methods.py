"""The methods in JAX: ours, optax's, and the matrix products that no exact method can do without."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.methods import Prepared
from benchmarks.problems import BIAS, K1, K2, SCALE, TEMPERATURE, VIEWS, Problem
from tcl_jax import losses

PRODUCT_ROWS = 512


def tcl(problem: Problem, block_size: Any = "auto") -> Prepared:
    def loss(rows: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.tcl_loss(rows, labels, temperature=TEMPERATURE, k1=K1, k2=K2, block_size=block_size)

    return _compiled(jax.value_and_grad(loss), problem, problem.embeddings, problem.labels)


def supcon(problem: Problem, block_size: Any = "auto") -> Prepared:
    def loss(rows: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.supcon_loss(rows, labels, temperature=TEMPERATURE, block_size=block_size)

    return _compiled(jax.value_and_grad(loss), problem, problem.embeddings, problem.labels)


def ntxent(problem: Problem) -> Prepared:
    def loss(rows: jax.Array) -> jax.Array:
        return losses.ntxent_loss(rows, num_views=VIEWS, temperature=TEMPERATURE)

    return _compiled(jax.value_and_grad(loss), problem, problem.embeddings)


def ntxent_optax(problem: Problem) -> Prepared:
    import optax

    def loss(rows: jax.Array, images: jax.Array) -> jax.Array:
        return optax.ntxent(rows.astype(jnp.float32), images, TEMPERATURE)

    return _compiled(jax.value_and_grad(loss), problem, problem.embeddings, problem.images)


def clip(problem: Problem, block_size: Any = "auto") -> Prepared:
    def loss(a: jax.Array, b: jax.Array) -> jax.Array:
        return losses.clip_loss(a, b, scale=SCALE, block_size=block_size)

    return _compiled(jax.value_and_grad(loss, argnums=(0, 1)), problem, problem.embeddings, problem.others)


def siglip(problem: Problem, block_size: Any = "auto") -> Prepared:
    def loss(a: jax.Array, b: jax.Array) -> jax.Array:
        return losses.siglip_loss(a, b, scale=SCALE, bias=BIAS, block_size=block_size)

    return _compiled(jax.value_and_grad(loss, argnums=(0, 1)), problem, problem.embeddings, problem.others)


def queue(problem: Problem, block_size: Any = "auto") -> Prepared:
    def loss(rows: jax.Array, labels: jax.Array, *references: jax.Array) -> jax.Array:
        return losses.supcon_loss(
            rows, labels, references=references, temperature=TEMPERATURE, block_size=block_size
        )

    batch = problem.batch, problem.batch_labels
    return _compiled(jax.value_and_grad(loss), problem, *batch, problem.embeddings, problem.labels)


def products(problem: Problem) -> Prepared:
    """s = z_i z^T once forward and once backward, and s z: 6 n^2 d operations, in blocks of rows."""
    # A single block would not be a loop, and there XLA takes the two equal products for one.
    block_rows = min(PRODUCT_ROWS, problem.size // 2)

    def product(left: jax.Array, right: jax.Array) -> jax.Array:
        return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)

    def run(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        z = rows.astype(jnp.float32)
        blocks = z.reshape(-1, block_rows, z.shape[1])

        # Two loops that each return something of theirs. In one loop the barrier alone would not do: XLA takes it out
        # late, and then drops the product that is not read.
        def forward(block: jax.Array) -> jax.Array:
            return lax.optimization_barrier(product(block, z.T))[:, 0]

        def backward(block: jax.Array) -> jax.Array:
            return product(lax.optimization_barrier(product(block, z.T)), z)

        return lax.map(forward, blocks), lax.map(backward, blocks).reshape(z.shape)

    least_flops = 6 * block_rows * problem.embeddings.size
    prepared = _compiled(run, problem, problem.embeddings, least_flops=least_flops)
    return prepared._replace(read=lambda _: (0.0, np.zeros(())))


def _compiled(
    function: Callable[..., Any], problem: Problem, *arrays: np.ndarray, least_flops: int = 0
) -> Prepared:
    """`function(*arrays)`, compiled ahead, so that no compilation is timed with it."""
    arguments = [jnp.asarray(x, problem.dtype if x.dtype == np.float32 else x.dtype) for x in arrays]
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - began
    # A loop counts once here, whatever its length.
    flops = (compiled.cost_analysis() or {}).get("flops")
    if jax.default_backend() == "cpu" and flops is not None and flops < least_flops:
        raise RuntimeError(
            f"XLA removed a matrix product: {flops:.3g} operations instead of {least_flops:.3g}"
        )
    memory = compiled.memory_analysis()

    def read(result: Any) -> tuple[float, np.ndarray]:
        loss, gradient = result
        return float(loss), np.concatenate([np.asarray(x, np.float32) for x in jax.tree.leaves(gradient)])

    return Prepared(
        lambda: jax.block_until_ready(compiled(*arguments)),
        read,
        memory.temp_size_in_bytes + memory.output_size_in_bytes if memory else None,
        compile_seconds,
    )
