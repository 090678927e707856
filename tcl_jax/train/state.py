"""Everything that training changes, as one tree of arrays; and what steers it from outside."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax.train.classifier import ClassifierLoss, ClassifierState
from tcl_jax.train.optimizer import Optimizer
from tcl_jax.train.queue import Queue, empty_queue
from tcl_jax.train.temperature import LearnedTemperature, begin_temperature


class TrainState(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      step: int32 scalar, updates done so far.
      params, batch_stats: the model's variables; the latter is empty for a model without BatchNorm.
      opt_state: the optimizer's.
      average: moving average of params and batch_stats, in one dict; None where none is kept.
      skipped: int32 scalar, steps that were left out as their loss or gradient was not finite.
      queue: projections of past batches; None where none are kept.
      momentum_encoder: moving average of params and batch_stats, as `average`, that fills the queue; None where the
        trained model does.
      temperature: None where it is not learned.
      classifier: of the encoder's features; None where none is trained along.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any
    skipped: jax.Array
    queue: Queue | None = None
    momentum_encoder: Any = None
    temperature: LearnedTemperature | None = None
    classifier: ClassifierState | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """What is trained."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def evaluated(self) -> dict[str, Any]:
        """What the model is evaluated with: the moving average where one is kept."""
        return self.variables if self.average is None else self.average

    def items(self) -> dict[str, dict[str, Any]]:
        """The parts of a checkpoint: "model", all that evaluation needs, and "training", the rest."""
        model = {"params": self.params, "batch_stats": self.batch_stats, "average": self.average}
        training = {
            name: tree for name, tree in self._asdict().items() if name not in model and tree is not None
        }
        return {"model": {name: tree for name, tree in model.items() if tree}, "training": training}

    @classmethod
    def from_items(cls, items: Mapping[str, Mapping[str, Any]]) -> "TrainState":
        """The state of such parts."""
        return cls(**{"batch_stats": {}, "average": None, **items["model"], **items["training"]})


class Hyper(NamedTuple):
    """Settings of a step that are traced values: changing one compiles nothing anew.

    Attributes:
      learning_rate, temperature, k1, k2: float scalars.
      seed: uint32 scalar, from which all randomness of training is derived.
      diagnose: bool scalar, whether the step also finds the diagnostics of its loss; it changes nothing else.
    """

    learning_rate: Any
    temperature: Any
    k1: Any
    k2: Any
    seed: Any
    diagnose: Any = False


# Randomness for one purpose never follows from that for another: each purpose folds its own number into the seed.
INIT_STREAM, VIEWS_STREAM, PROBE_STREAM, DROPOUT_STREAM, CLASSIFIER_STREAM = range(5)


def stream_key(seed: Any, stream: int) -> jax.Array:
    """The random key of one purpose under a seed."""
    return jax.random.fold_in(jax.random.key(seed), stream)


def create_state(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    image_shape: tuple[int, int, int],
    seed: int,
    mesh: Mesh,
    keep_average: bool = False,
    queue_size: int = 0,
    keep_momentum_encoder: bool = False,
    temperature_optimizer: Optimizer | None = None,
    classifier: ClassifierLoss | None = None,
) -> TrainState:
    """The state before the first step, for images [h, w, c], replicated over `mesh`; a pure function of the seed.

    Args:
      queue_size: rows of the queue; 0 for none.
      temperature_optimizer: of a temperature that is learned; None for none.
      classifier: that is trained along; None for none.
    """
    kept = keep_average, queue_size, keep_momentum_encoder, temperature_optimizer, classifier
    return _compile_initial(model, optimizer, image_shape, mesh, *kept)(np.uint32(seed))


@functools.lru_cache(maxsize=1)  # the members of a sweep differ in their seeds alone
def _compile_initial(
    model: nn.Module,
    optimizer: Optimizer,
    image_shape: tuple[int, int, int],
    mesh: Mesh,
    keep_average: bool,
    queue_size: int,
    keep_momentum_encoder: bool,
    temperature_optimizer: Optimizer | None,
    classifier: ClassifierLoss | None,
) -> Callable[[np.uint32], TrainState]:
    def initial(seed: jax.Array) -> TrainState:
        images = jnp.zeros((1, *image_shape))
        variables = model.init(stream_key(seed, INIT_STREAM), images, train=False)
        params, batch_stats = variables["params"], variables.get("batch_stats", {})
        copy = {"params": params, "batch_stats": batch_stats}
        queue = None
        if queue_size:
            queue = empty_queue(queue_size, jax.eval_shape(lambda: model.apply(copy, images, train=False)))
        of_classifier = None
        if classifier is not None:
            features = jax.eval_shape(lambda: model.apply(copy, images, train=False, method="encode"))
            of_classifier = classifier.begin(features, optimizer, stream_key(seed, CLASSIFIER_STREAM))
        return TrainState(
            step=jnp.int32(0),
            params=params,
            batch_stats=batch_stats,
            opt_state=optimizer.init(params),
            average=copy if keep_average else None,
            skipped=jnp.int32(0),
            queue=queue,
            momentum_encoder=copy if keep_momentum_encoder else None,
            temperature=temperature_optimizer and begin_temperature(temperature_optimizer),
            classifier=of_classifier,
        )

    return jax.jit(initial, out_shardings=NamedSharding(mesh, P()))


def begin_with(state: TrainState, encoder: Any, *, mesh: Mesh) -> TrainState:
    """A state before the first step, with the given weights of the encoder; its moving averages begin there as well.

    Args:
      encoder: "params" and, where it has them, "batch_stats" of the encoder, in numpy; the same in each process.
    """

    def replace(state: TrainState, encoder: Any) -> TrainState:
        params, batch_stats = (
            {**tree, "encoder": encoder[kind]} if kind in encoder else tree
            for kind, tree in (("params", state.params), ("batch_stats", state.batch_stats))
        )
        begun = {"params": params, "batch_stats": batch_stats}
        averages = {
            name: begun for name in ("average", "momentum_encoder") if getattr(state, name) is not None
        }
        # Arrays of their own, as the first step donates each of them.
        return state._replace(**jax.tree.map(jnp.copy, begun | averages))

    return jax.jit(replace, out_shardings=NamedSharding(mesh, P()))(state, encoder)


@jax.jit
def all_finite(tree: Any) -> jax.Array:
    """Whether every floating number of the tree is finite: a bool scalar."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
