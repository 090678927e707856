"""One step of training: what each device does, and its compilation for all of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from tcl_jax.augment.views import Views
from tcl_jax.data import Batch
from tcl_jax.models import ContrastiveModel
from tcl_jax.parallel import DATA_AXIS
from tcl_jax.train.average import update_average
from tcl_jax.train.classifier import ClassifierLoss
from tcl_jax.train.forward import forward
from tcl_jax.train.objective import Objective
from tcl_jax.train.optimizer import Optimizer
from tcl_jax.train.queue import Queue
from tcl_jax.train.state import DROPOUT_STREAM, VIEWS_STREAM, Hyper, TrainState, all_finite, stream_key
from tcl_jax.train.temperature import temperature_of

TrainStep = Callable[[TrainState, Batch, Hyper], tuple[TrainState, dict[str, jax.Array]]]
"""(state, batch, hyper) -> (state, metrics), compiled."""

DeviceStep = Callable[[TrainState, Batch, Hyper], tuple[TrainState, dict[str, jax.Array]]]
"""The same on one device with its part of the batch, inside shard_map over `DATA_AXIS`."""


def make_device_step(
    model: ContrastiveModel,
    optimizer: Optimizer,
    objective: Objective,
    views: Views,
    *,
    steps_per_epoch: int,
    sync_batch_norm: bool,
    micro_batches: int = 1,
    ema_decay: float = 0.0,
    skip_not_finite: bool = False,
    momentum_encoder: float = 0.0,
    temperature_optimizer: Optimizer | None = None,
    classifier: ClassifierLoss | None = None,
) -> DeviceStep:
    """The function (state, batch, hyper) -> (state, metrics) of one device among those of the axis `DATA_AXIS`.

    State, hyper and metrics are the same on every device, the batch is this device's part. Metrics, scalars, of the
    parameters before the update: "loss"; the objective's diagnostics by their names, which are 0 unless hyper.diagnose;
    with `temperature_optimizer` "temperature"; with `classifier` those of `ClassifierLoss.of`; and with
    `skip_not_finite` "skipped", 1 for a step that was left out, else 0.

    Where the state has a queue, the loss meets the rows in it, and then those of this batch are put in place of the
    oldest: the projections of the loss, or those that the momentum encoder makes of the same views. Neither parameters
    nor momentum encoder are yet those after the update.

    Args:
      model: with BatchNorm over `DATA_AXIS` if and only if `sync_batch_norm`.
      optimizer: from `make_optimizer`.
      objective: from `make_objective`.
      views: from `tcl_jax.augment.make_views`.
      steps_per_epoch: gives the epoch of a step: views are drawn by seed, epoch, example and view number.
      sync_batch_norm: False leaves each device its own statistics in training, whose mean the state keeps.
      micro_batches: parts of the batch that go through the model one after the other, with the activations of one part
        in memory; the loss and its gradient stay those of the whole batch. A divisor of the images of each device.
      ema_decay: of the moving average in the state; 0 where the state keeps none.
      skip_not_finite: leave out a step whose loss or gradient is not finite: the state stays as it was, but for the
        numbers of steps done and skipped.
      momentum_encoder: decay of the one in the state; 0 where the state has none.
      temperature_optimizer: of the temperature in the state; None where it is not learned.
      classifier: of the one in the state, which the optimizer trains at the rate of the parameters; None where there is
        none.
    """

    def device_step(state: TrainState, batch: Batch, hyper: Hyper) -> tuple[TrainState, dict[str, jax.Array]]:
        epoch = state.step // steps_per_epoch
        views_key, dropout_key = (
            jax.random.fold_in(stream_key(hyper.seed, stream), epoch)
            for stream in (VIEWS_STREAM, DROPOUT_STREAM)
        )

        def project(params: Any, batch_stats: Any, method: str = "__call__") -> tuple[Any, Any]:
            return forward(
                model,
                views,
                params,
                batch_stats,
                views_key,
                batch,
                dropout_key=dropout_key,
                micro_batches=micro_batches,
                sync_batch_norm=sync_batch_norm,
                method=method,
            )

        def loss_of(params: Any, temperature: Any, of_classifier: Any) -> tuple[jax.Array, Any]:
            settings = hyper
            if temperature is not None:
                settings = hyper._replace(temperature=temperature_of(temperature, hyper.temperature))
            method = "__call__" if classifier is None else "with_features"
            outputs, batch_stats = project(params, state.batch_stats, method)
            features: Any = None
            references = None if state.queue is None else state.queue.references
            if classifier is not None:
                outputs, features = outputs
            loss = objective.loss(outputs, batch, settings, references)
            metrics = {"loss": loss}
            if classifier is not None:
                added, of_its_own = classifier.of(of_classifier, features, batch)
                loss, metrics = loss + added, metrics | of_its_own
            return loss, (batch_stats, outputs, settings, metrics)

        # What is the same on every device: autodiff under shard_map sums its gradient over devices.
        trained = (
            state.params,
            None if state.temperature is None else state.temperature.variable,
            None if state.classifier is None else state.classifier.params,
        )
        (_, (batch_stats, outputs, settings, metrics)), gradients = jax.value_and_grad(
            loss_of, argnums=(0, 1, 2), has_aux=True
        )(*trained)
        if not sync_batch_norm:
            batch_stats = lax.pmean(batch_stats, DATA_AXIS)
        params, opt_state = optimizer.step(gradients[0], state.opt_state, state.params, hyper.learning_rate)
        after = state._replace(params=params, batch_stats=batch_stats, opt_state=opt_state)
        if ema_decay:
            average = update_average(state.average, after.variables, state.step, decay=ema_decay)
            after = after._replace(average=average)
        if state.queue is not None:
            rows = outputs
            if momentum_encoder:
                rows, _ = project(**state.momentum_encoder)
                encoder = update_average(
                    state.momentum_encoder, after.variables, state.step, decay=momentum_encoder
                )
                after = after._replace(momentum_encoder=encoder)
            after = after._replace(queue=state.queue.push(*objective.of_all_devices(rows, batch)))
        metrics |= diagnostics(outputs, batch, settings, state.queue)
        if temperature_optimizer is not None and state.temperature is not None:
            temperature = state.temperature.step(
                temperature_optimizer, gradients[1], hyper.learning_rate, hyper.temperature
            )
            after = after._replace(temperature=temperature)
            metrics["temperature"] = settings.temperature
        if state.classifier is not None:
            trained_on = state.classifier.step(optimizer, gradients[2], hyper.learning_rate)
            after = after._replace(classifier=trained_on)
        if skip_not_finite:
            finite = all_finite((metrics["loss"], gradients, after.queue))
            after = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state)
            metrics["skipped"] = jnp.where(finite, 0, 1)
            after = after._replace(skipped=state.skipped + metrics["skipped"])
        return after._replace(step=state.step + 1), metrics

    def diagnostics(
        outputs: jax.Array, batch: Batch, hyper: Hyper, queue: Queue | None
    ) -> dict[str, jax.Array]:
        def diagnose() -> dict[str, jax.Array]:
            references = None if queue is None else queue.references
            return objective.diagnostics(outputs, batch, hyper, references)

        # Every device takes the same branch, so that the exchange within is safe.
        shapes = jax.eval_shape(diagnose)
        return lax.cond(hyper.diagnose, diagnose, lambda: jax.tree.map(jnp.zeros_like, shapes))

    return device_step


def compile_step(device_step: DeviceStep, mesh: Mesh) -> TrainStep:
    """The step on all devices of `mesh`, compiled when it is first called.

    State, hyper and metrics are replicated over the mesh, the batch is split along its first axis. The old state is
    donated: its memory becomes the new one's.
    """
    mapped = jax.shard_map(device_step, mesh=mesh, in_specs=(P(), P(DATA_AXIS), P()), out_specs=(P(), P()))
    return jax.jit(mapped, donate_argnums=0)
