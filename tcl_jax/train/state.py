"""Everything that training changes, as one tree of arrays; and what steers it from outside."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


class TrainState(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      step: int32 scalar, updates done so far.
      params, batch_stats: the model's variables.
      opt_state: the optimizer's.
      average: moving average of params and batch_stats, in one dict; None where none is kept.
      skipped: int32 scalar, steps that were left out as their loss or gradient was not finite.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any
    skipped: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        """What is trained."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def evaluated(self) -> dict[str, Any]:
        """What the model is evaluated with: the moving average where one is kept."""
        return self.variables if self.average is None else self.average


class Hyper(NamedTuple):
    """Settings of a step that are traced values: changing one compiles nothing anew.

    Attributes:
      learning_rate, temperature, k1, k2: float scalars.
      seed: uint32 scalar, from which all randomness of training is derived.
      diagnose: bool scalar, whether the step also finds the diagnostics of its loss; it changes no other figure.
    """

    learning_rate: Any
    temperature: Any
    k1: Any
    k2: Any
    seed: Any
    diagnose: Any = False


# Randomness for one purpose never follows from that for another: each purpose folds its own number into the seed.
INIT_STREAM, VIEWS_STREAM, PROBE_STREAM = range(3)


def stream_key(seed: Any, stream: int) -> jax.Array:
    """The random key of one purpose under a seed."""
    return jax.random.fold_in(jax.random.key(seed), stream)


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    image_shape: tuple[int, int, int],
    seed: int,
    mesh: Mesh,
    keep_average: bool = False,
) -> TrainState:
    """The state before the first step, for images [h, w, c], replicated over `mesh`; a pure function of the seed."""
    return _compile_initial(model, optimizer, image_shape, mesh, keep_average)(np.uint32(seed))


@functools.lru_cache(maxsize=1)  # the members of a sweep differ in their seeds alone
def _compile_initial(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    mesh: Mesh,
    keep_average: bool,
) -> Callable[[np.uint32], TrainState]:
    def initial(seed: jax.Array) -> TrainState:
        variables = model.init(stream_key(seed, INIT_STREAM), jnp.zeros((1, *image_shape)), train=False)
        params, batch_stats = variables["params"], variables["batch_stats"]
        return TrainState(
            step=jnp.int32(0),
            params=params,
            batch_stats=batch_stats,
            opt_state=optimizer.init(params),
            average={"params": params, "batch_stats": batch_stats} if keep_average else None,
            skipped=jnp.int32(0),
        )

    return jax.jit(initial, out_shardings=NamedSharding(mesh, P()))


def begin_with(state: TrainState, encoder: Any, *, mesh: Mesh) -> TrainState:
    """A state before the first step, with the given weights of the encoder; its moving average begins there as well.

    Args:
      encoder: {"params": ..., "batch_stats": ...} of the encoder, in numpy; each process hands over the same.
    """

    def replace(state: TrainState, encoder: Any) -> TrainState:
        params, batch_stats = (
            {**tree, "encoder": encoder[kind]}
            for kind, tree in (("params", state.params), ("batch_stats", state.batch_stats))
        )
        average = None if state.average is None else {"params": params, "batch_stats": batch_stats}
        # Arrays of their own, as the first step donates each of them.
        copied = jax.tree.map(jnp.copy, (params, batch_stats, average))
        return state._replace(params=copied[0], batch_stats=copied[1], average=copied[2])

    return jax.jit(replace, out_shardings=NamedSharding(mesh, P()))(state, encoder)


@jax.jit
def all_finite(tree: Any) -> jax.Array:
    """Whether every floating number of the tree is finite: a bool scalar."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def params_sha256(state: TrainState) -> str:
    """SHA-256 of parameters and running statistics, to compare runs of one config to the last bit.

    Over all leaves sorted by key path: the path (as in "params/encoder/conv1/kernel", UTF-8) followed by the array's
    little-endian bytes in row-major order.
    """
    leaves = {
        "/".join(str(entry.key) for entry in path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(jax.device_get(state.variables))[0]
    }
    digest = hashlib.sha256()
    for path in sorted(leaves):
        array = leaves[path]
        digest.update(path.encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
