"""Train a run to its end, from its latest checkpoint if there is one; then evaluate it."""

import jax
from ml_collections import ConfigDict

from tcl_jax.modes import evaluate
from tcl_jax.modes.evaluate import evaluate_and_report
from tcl_jax.modes.experiment import build_experiment
from tcl_jax.modes.workdir import Workdir
from tcl_jax.report import MetricsLog, format_table
from tcl_jax.train.checkpoint import Checkpoints, Position
from tcl_jax.train.loop import train
from tcl_jax.train.profile import Profile


def run(config: ConfigDict, workdir: Workdir, config_name: str, *, profile_steps: int = 0) -> None:
    """Do what is left of the run: all of it, the epochs after the last checkpoint, the evaluation, or nothing.

    Args:
      profile_steps: training steps to trace into the workdir.

    Raises:
      UserError: the config or the data cannot be used, or `workdir` holds a run with another config.
    """
    results = workdir.read_results()
    if results is not None and results["epochs"] >= config.train.epochs:
        same_probe = workdir.read_config()[1].probe == config.probe
        workdir.claim(config_name, config)
        print(f"The run in {workdir.path} is complete; nothing is left to train.")
        if same_probe:
            print(format_table(results, str(workdir.path)))
        else:
            evaluate.run(config, workdir, config_name)
        return

    experiment = build_experiment(config)
    workdir.claim(config_name, config)
    print(
        f"Training {config_name} ({experiment.loss_name} on {experiment.dataset.name}) "
        f"on {experiment.mesh.size} x {experiment.mesh.devices.flat[0].device_kind} in {workdir.path}",
        flush=True,
    )
    with Checkpoints(workdir.checkpoints) as checkpoints:
        restored = checkpoints.restore_latest(jax.eval_shape(experiment.initial_state), experiment.mesh)
        if restored is None:
            state, position = experiment.initial_state(), Position()
        else:
            state, position = restored
            print(f"Continuing after step {int(state.step)}, in epoch {position.epoch + 1}.", flush=True)
        with MetricsLog(workdir.metrics, workdir.tensorboard, after_step=int(state.step)) as log:
            state, position = train(
                experiment.step,
                state,
                position,
                split=experiment.dataset.train,
                hyper=experiment.hyper,
                course=experiment.course,
                mesh=experiment.mesh,
                log=log,
                checkpoints=checkpoints,
                examples=experiment.division.train,
                validate=experiment.validate,
                profile=Profile(workdir.profile, profile_steps),
            )
        best = checkpoints.best()
    evaluate_and_report(experiment, state, position, best, workdir, config_name)
