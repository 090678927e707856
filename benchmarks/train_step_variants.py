"""A training step and what is left of it without one part after the other."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from benchmarks.steps import is_contrastive
from benchmarks.train_step_page import (
    AUGMENTATION,
    FORWARD,
    LOSS,
    NO_AUGMENTATION,
    NO_LOSS,
    OWN_GRADIENTS,
    PLACED,
    WHOLE,
)
from tcl_jax.data import Batch
from tcl_jax.experiment import build
from tcl_jax.experiment.build import Experiment, build_training
from tcl_jax.models import resnet
from tcl_jax.parallel import DATA_AXIS, replicate, split_batch
from tcl_jax.train.objective import Objective, make_objective

PRODUCT_SIDE = 2048

Run = Callable[[], Any]


def our_steps(
    config: ConfigDict, parts: Experiment, batches: Iterator[Batch], batch: Batch
) -> dict[str, Run]:
    """Our variants by name: each call dispatches a step, and returns what to wait for."""
    training, mesh = parts.training, parts.mesh
    hyper = replicate(training.hyper, mesh)  # with learning rate 0: all keep the weights that they begin with
    placed = split_batch(batch, mesh)
    plain = with_settings(config, views=("none",) * training.course.num_views)
    step_of = {
        WHOLE: training.step,
        NO_AUGMENTATION: build_training(plain, parts.facts, mesh).step,
        NO_LOSS: _step_without_loss(config, parts),
    }
    if jax.default_backend() == "cpu":  # elsewhere they are what runs
        step_of[OWN_GRADIENTS] = _step_with_own_gradients(config, parts)
    state = [training.initial_state()]  # each step takes the last one's memory

    def one(step: Any, real: bool) -> Any:
        state[0], metrics = step(state[0], split_batch(next(batches), mesh) if real else placed, hyper)
        return metrics

    step_of[PLACED] = step_of[WHOLE]
    runs = {name: partial(one, step, name == WHOLE) for name, step in step_of.items()}
    return runs | {
        FORWARD: _forward(config, parts, placed),
        AUGMENTATION: partial(jax.jit(training.views), jax.random.key(0), placed.images, placed.indices),
        LOSS: _loss(config, parts, placed, hyper),
    }


def _step_with_own_gradients(config: ConfigDict, parts: Experiment) -> Any:
    """The step whose kernel gradients are those that XLA makes of the convolutions."""
    step = build_training(config, parts.facts, parts.mesh).step

    def run(*arguments: Any) -> Any:
        with mock.patch.object(resnet, "convolve", lax.conv_general_dilated):  # when it is traced
            return step(*arguments)

    return run


def _step_without_loss(config: ConfigDict, parts: Experiment) -> Any:
    """The step with the sum of all outputs, each times a fixed number, in the place of the loss."""

    def weighted_sum(outputs: jax.Array, batch: Batch, hyper: Any) -> jax.Array:
        factors = np.random.default_rng(0).standard_normal(outputs.shape).astype(np.float32)
        return lax.pmean(jnp.sum(outputs * factors), DATA_AXIS)

    objective = Objective(weighted_sum, lambda outputs, batch, hyper: {})
    with mock.patch.object(build, "make_objective", return_value=objective):
        return build_training(config, parts.facts, parts.mesh).step


def _forward(config: ConfigDict, parts: Experiment, placed: Batch) -> Run:
    """Encoder and head in training, on views that lie on the device; one pass begins when the last has ended."""
    training, synchronised = parts.training, config.model.sync_batch_norm
    views = jax.jit(training.views)(jax.random.key(0), placed.images, placed.indices)
    pieces = [split_batch(x, parts.mesh) for x in np.split(views, training.course.micro_batches)]
    variables = training.initial_state().variables

    def on_device(params: Any, batch_stats: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        both = {"params": params, "batch_stats": batch_stats}
        outputs, updated = training.model.apply(both, images, train=True, mutable=["batch_stats"])
        after = updated["batch_stats"]
        return outputs, after if synchronised else lax.pmean(after, DATA_AXIS)

    split = P(DATA_AXIS)
    apply: Any = jax.jit(
        jax.shard_map(on_device, mesh=parts.mesh, in_specs=(P(), P(), split), out_specs=(split, P()))
    )
    batch_stats = [variables["batch_stats"]]

    def run() -> jax.Array:
        for piece in pieces:
            outputs, batch_stats[0] = apply(variables["params"], batch_stats[0], piece)
        return outputs

    return run


def _loss(config: ConfigDict, parts: Experiment, placed: Batch, hyper: Any) -> Run:
    """The loss and its gradient, of drawn outputs."""
    rows = placed.images.shape[0] * parts.training.course.num_views
    width = config.model.projection_dim if is_contrastive(config) else parts.facts.num_classes
    outputs = np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)
    outputs = split_batch(outputs / np.linalg.norm(outputs, axis=1, keepdims=True), parts.mesh)
    objective = make_objective(
        config.loss.name,
        labels=config.loss.labels,
        num_views=parts.training.course.num_views,
        block_size="auto",
    )
    split = P(DATA_AXIS)
    both = jax.shard_map(
        jax.value_and_grad(objective.loss),
        mesh=parts.mesh,
        in_specs=(split, split, P()),
        out_specs=(P(), split),
    )
    return partial(jax.jit(both), outputs, placed, hyper)


def matrix_product() -> Run:
    side = jax.random.normal(jax.random.key(0), (PRODUCT_SIDE, PRODUCT_SIDE))
    return partial(jax.jit(lambda x: jnp.matmul(x, x, precision=lax.Precision.HIGHEST)), side)


def with_settings(
    config: ConfigDict, *, views: tuple[str, ...], precision: str = "", batch_size: int = 0
) -> ConfigDict:
    """The config with other views, and another precision and batch where they are given."""
    changed = copy.deepcopy(config)
    changed.augment.views = views
    if precision:
        changed.train.precision = precision
    if batch_size:
        changed.train.batch_size = batch_size
    return changed
