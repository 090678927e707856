"""Train a run to its end, from its latest checkpoint if there is one; then evaluate it."""

import jax
from ml_collections import ConfigDict

from tcl_jax.experiment.build import Experiment, build_experiment, check_init_from
from tcl_jax.modes import evaluate
from tcl_jax.modes.evaluate import evaluate_and_report
from tcl_jax.processes import is_first, on_first, together
from tcl_jax.report.results import format_table
from tcl_jax.run.checkpoint import Checkpoints, Position, last_whole_step
from tcl_jax.run.metrics_log import MetricsLog, NoLog
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.loop import train
from tcl_jax.train.profile import Profile


def run(
    config: ConfigDict,
    workdir: Workdir,
    config_name: str,
    *,
    profile_steps: int = 0,
    began: float | None = None,
) -> None:
    """Do what is left of the run: all of it, the epochs after the last checkpoint, the evaluation, or nothing.

    Args:
      profile_steps: training steps to trace into the workdir.
      began: when the program began, by time.monotonic().

    Raises:
      UserError: the config or the data cannot be used, `workdir` holds a run with another config, or another process
        is at work in it.
      RunFailed: training cannot go on, or something of the run cannot be written.
    """
    results = on_first(workdir.read_results)
    if results is not None and results["epochs"] >= config.train.epochs:
        same_probe = on_first(lambda: workdir.read_config()[1].probe.to_dict() == config.probe.to_dict())
        with workdir.locked(), workdir.failures_told():
            on_first(lambda: workdir.claim(config_name, config))
        print(f"The run in {workdir.path} is complete; nothing is left to train.")
        if same_probe:
            print(format_table(results, str(workdir.path)))
        else:
            evaluate.run(config, workdir, config_name)
        return

    on_first(workdir.refuse_if_locked)  # rather now than when the data are loaded
    # A run that goes on has no use for model.init_from. Of all that it must fit, only the channels need the images.
    begins = on_first(lambda: last_whole_step(workdir.checkpoints) is None)
    if begins:
        together(lambda: check_init_from(config))
    experiment = together(lambda: build_experiment(config))
    if begins:
        together(lambda: check_init_from(config, channels=experiment.facts.image_shape[-1]))
    with workdir.locked(), workdir.failures_told():
        _train_and_report(experiment, workdir, config, config_name, profile_steps, began)


def _train_and_report(
    experiment: Experiment,
    workdir: Workdir,
    config: ConfigDict,
    config_name: str,
    profile_steps: int,
    began: float | None,
) -> None:
    on_first(lambda: workdir.claim(config_name, config, facts=experiment.facts._asdict()))
    print(
        f"Training {config_name} ({experiment.loss_name} on {experiment.dataset.name}) "
        f"on {experiment.mesh.size} x {experiment.mesh.devices.flat[0].device_kind} in {workdir.path}",
        flush=True,
    )
    with Checkpoints(workdir.checkpoints) as checkpoints:
        restored = checkpoints.restore_latest(
            jax.eval_shape(experiment.training.initial_state), experiment.mesh
        )
        if restored is None:
            state, position = experiment.training.initial_state(), Position()
        else:
            state, position = restored
            print(f"Continuing after step {int(state.step)}, in epoch {position.epoch + 1}.", flush=True)
        step = int(state.step)
        writer = MetricsLog(workdir.metrics, workdir.tensorboard, after_step=step) if is_first() else NoLog()
        with writer as log:
            state, position = train(
                experiment.training.step,
                state,
                position,
                split=experiment.dataset.train,
                hyper=experiment.training.hyper,
                course=experiment.training.course,
                mesh=experiment.mesh,
                log=log,
                checkpoints=checkpoints,
                examples=experiment.training.division.train,
                validate=experiment.validate,
                profile=Profile(workdir.profile, profile_steps),
                began=began,
            )
        best = checkpoints.best()
    evaluate_and_report(experiment, state, position, best, workdir, config_name)
