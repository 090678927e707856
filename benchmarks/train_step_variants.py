"""A training step and what is left of it without one part after the other."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec as P

from benchmarks.steps import variant, without_augmentation
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
from tcl_jax.experiment.build import Experiment
from tcl_jax.models import resnet
from tcl_jax.parallel import DATA_AXIS, replicate, split_batch
from tcl_jax.train.forward import forward
from tcl_jax.train.objective import Objective
from tcl_jax.train.state import Hyper

PRODUCT_SIDE = 2048

Run = Callable[[], Any]


def our_steps(experiment: Experiment, batches: Iterator[Batch], batch: Batch) -> dict[str, Run]:
    """Our variants by name: each call dispatches a step, and returns what to wait for."""
    program, mesh = experiment.program, experiment.mesh
    hyper = replicate(experiment.settings.hyper, mesh)  # with learning rate 0: all keep their first weights
    placed = split_batch(batch, mesh)
    state = [program.initial_state(experiment.settings.seed)]  # each step takes the last one's memory
    step_of = {
        WHOLE: program.step,
        NO_AUGMENTATION: without_augmentation(experiment).step,
        NO_LOSS: variant(experiment, objective=_no_loss(program.parts.objective)).step,
    }
    if jax.default_backend() == "cpu":  # elsewhere they are what runs
        with mock.patch.object(resnet, "convolve", lax.conv_general_dilated):
            step_of[OWN_GRADIENTS] = variant(experiment).step.lower(state[0], placed, hyper).compile()
    step_of[PLACED] = step_of[WHOLE]

    def one(step: Any, real: bool) -> Any:
        state[0], metrics = step(state[0], split_batch(next(batches), mesh) if real else placed, hyper)
        return metrics

    runs = {name: partial(one, step, name == WHOLE) for name, step in step_of.items()}
    views = partial(jax.jit(program.views), jax.random.key(0), placed.images, placed.indices)
    return runs | {
        FORWARD: _forward(experiment, placed._replace(images=split_batch(_by_image(views(), placed), mesh))),
        AUGMENTATION: views,
        LOSS: _loss(experiment, placed, hyper),
    }


def _no_loss(objective: Objective) -> Objective:
    """The sum of all outputs, each times a fixed number, in the place of the loss."""

    def weighted_sum(outputs: jax.Array, *others: object) -> jax.Array:
        factors = np.random.default_rng(0).standard_normal(outputs.shape).astype(np.float32)
        return lax.pmean(jnp.sum(outputs * factors), DATA_AXIS)

    return objective._replace(loss=weighted_sum, diagnostics=lambda *_: {})


def _by_image(views: jax.Array, batch: Batch) -> jax.Array:
    """From [v b, ...], view by view, to [b, v, ...], which is split over devices as images are."""
    return views.reshape(-1, len(batch.indices), *views.shape[1:]).swapaxes(0, 1)


def _forward(experiment: Experiment, batch: Batch) -> Run:
    """The forward pass of a step on a batch of views; one begins when the last has ended."""
    program, parts, key = experiment.program, experiment.program.parts, jax.random.key(0)
    state = program.initial_state(experiment.settings.seed)

    def on_device(params: Any, batch_stats: Any, batch: Batch) -> tuple[jax.Array, Any]:
        outputs, after = forward(
            program.model,
            lambda key, images, indices: images.swapaxes(0, 1).reshape(-1, *images.shape[2:]),
            params,
            batch_stats,
            key,
            batch,
            dropout_key=key,
            micro_batches=parts.micro_batches,
            sync_batch_norm=parts.synchronised,
        )
        return outputs, after if parts.synchronised else lax.pmean(after, DATA_AXIS)

    split = P(DATA_AXIS)
    apply = jax.jit(
        jax.shard_map(on_device, mesh=parts.mesh, in_specs=(P(), P(), split), out_specs=(split, P()))
    )
    batch_stats = [state.batch_stats]

    def run() -> jax.Array:
        outputs, batch_stats[0] = apply(state.params, batch_stats[0], batch)
        return outputs

    return run


def _loss(experiment: Experiment, placed: Batch, hyper: Hyper) -> Run:
    """The loss and its gradient, of drawn outputs."""
    mesh, objective = experiment.mesh, experiment.program.parts.objective
    projects = objective.head == "projection"
    width = experiment.config.model.projection_dim if projects else experiment.facts.num_classes
    shape = experiment.program.schedule.views_per_step, width
    outputs = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    outputs = split_batch(outputs / np.linalg.norm(outputs, axis=1, keepdims=True), mesh)
    split = P(DATA_AXIS)
    both = jax.shard_map(
        jax.value_and_grad(objective.loss), mesh=mesh, in_specs=(split, split, P()), out_specs=(P(), split)
    )
    return partial(jax.jit(both), outputs, placed, hyper)


def matrix_product() -> Run:
    side = jax.random.normal(jax.random.key(0), (PRODUCT_SIDE, PRODUCT_SIDE))
    return partial(jax.jit(lambda x: jnp.matmul(x, x, precision=lax.Precision.HIGHEST)), side)
