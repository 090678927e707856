"""One step of training: what each device does, and its compilation for all of them."""

from collections.abc import Callable

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
from tcl_jax.train.forward import forward
from tcl_jax.train.objective import Objective
from tcl_jax.train.optimizer import Optimizer
from tcl_jax.train.state import DROPOUT_STREAM, VIEWS_STREAM, Hyper, TrainState, all_finite, stream_key

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
) -> DeviceStep:
    """The function (state, batch, hyper) -> (state, metrics) of one device among those of the axis `DATA_AXIS`.

    State, hyper and metrics are the same on every device, the batch is this device's part. Metrics, scalars, of the
    parameters before the update: "loss"; the objective's diagnostics by their names, which are 0 unless hyper.diagnose;
    and with `skip_not_finite` "skipped", 1 for a step that was left out, else 0.

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
    """

    def device_step(state: TrainState, batch: Batch, hyper: Hyper):
        epoch = state.step // steps_per_epoch
        views_key, dropout_key = (
            jax.random.fold_in(stream_key(hyper.seed, stream), epoch)
            for stream in (VIEWS_STREAM, DROPOUT_STREAM)
        )

        def loss_of(params):
            outputs, batch_stats = forward(
                model,
                views,
                params,
                state.batch_stats,
                views_key,
                batch,
                dropout_key=dropout_key,
                micro_batches=micro_batches,
                sync_batch_norm=sync_batch_norm,
            )
            return objective.loss(outputs, batch, hyper), (batch_stats, outputs)

        # Parameters are the same on every device, so that autodiff under shard_map sums their gradient over devices.
        (loss, (batch_stats, outputs)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        if not sync_batch_norm:
            batch_stats = lax.pmean(batch_stats, DATA_AXIS)
        params, opt_state = optimizer.step(gradients, state.opt_state, state.params, hyper.learning_rate)
        after = state._replace(params=params, batch_stats=batch_stats, opt_state=opt_state)
        if ema_decay:
            average = update_average(state.average, after.variables, state.step, decay=ema_decay)
            after = after._replace(average=average)
        metrics = {"loss": loss, **diagnostics(outputs, batch, hyper)}
        if skip_not_finite:
            finite = all_finite((loss, gradients))
            after = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state)
            metrics["skipped"] = jnp.where(finite, 0, 1)
            after = after._replace(skipped=state.skipped + metrics["skipped"])
        return after._replace(step=state.step + 1), metrics

    def diagnostics(outputs: jax.Array, batch: Batch, hyper: Hyper) -> dict[str, jax.Array]:
        def diagnose() -> dict[str, jax.Array]:
            return objective.diagnostics(outputs, batch, hyper)

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
