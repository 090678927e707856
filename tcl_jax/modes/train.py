"""Train a run to its end, from its latest checkpoint if there is one; then evaluate it."""

from ml_collections import ConfigDict

from tcl_jax.experiment.build import build_experiment
from tcl_jax.experiment.opened import Run, hold, open_run
from tcl_jax.experiment.results import evaluate_run
from tcl_jax.modes import evaluate
from tcl_jax.processes import on_first, together
from tcl_jax.report.results import print_results
from tcl_jax.run.stored import last_whole_step
from tcl_jax.run.workdir import ConfigFile, Workdir
from tcl_jax.train.interruption import evaluating
from tcl_jax.train.loop import train
from tcl_jax.train.profile import Profile
from tcl_jax.train.sweep_step import OneByOne


def run(
    config: ConfigDict,
    workdir: Workdir,
    config_name: str,
    *,
    config_file: ConfigFile | None = None,
    profile_steps: int = 0,
    began: float | None = None,
) -> None:
    """Do what is left of the run: all of it, the epochs after the last checkpoint, the evaluation, or nothing.

    Args:
      config_file: where the config is from, for the command on the page.
      profile_steps: training steps to trace into the workdir.
      began: when the program began, by time.monotonic().

    Raises:
      UserError: the config or the data cannot be used, `workdir` holds a run with another config, or another process
        is at work in it.
      Interrupted: SIGINT or SIGTERM came; what is trained is saved.
      RunFailed: training cannot go on, or something of the run cannot be written.
    """
    on_first(workdir.require_plain_path)
    results = on_first(workdir.read_results)
    if results is not None and results["epochs"] >= config.train.epochs:
        same = on_first(lambda: workdir.evaluates_as(config))
        with workdir.failures_reported(), hold(config_name, config, workdir, config_file=config_file):
            pass
        print(f"The run in {workdir.path} is complete; nothing is left to train.")
        if same:
            print_results(results, str(workdir.path))
        else:
            evaluate.run(config, workdir, config_name)
        return

    on_first(workdir.refuse_if_locked)  # rather now than when the data are loaded
    begins = on_first(lambda: last_whole_step(workdir.checkpoints) is None)
    began_with = {} if begins else on_first(workdir.read_data)
    experiment = together(lambda: build_experiment(config, begins=begins, began_with=[began_with]))
    with (
        workdir.failures_reported(),
        open_run(config_name, experiment, workdir, config_file=config_file) as opened,
    ):
        trained = _train(opened, Profile(workdir.profile, profile_steps), began)
        with evaluating(trained.step):
            evaluate_run(trained)


def _train(opened: Run, profile: Profile, began: float | None) -> Run:
    experiment = opened.experiment
    print(
        f"Training {opened.name} ({experiment.config.loss.name} on {experiment.dataset.name}) "
        f"on {experiment.mesh.size} x {experiment.mesh.devices.flat[0].device_kind} in {opened.workdir.path}",
        flush=True,
    )
    if opened.state is not None:
        print(f"Continuing after step {opened.step}, in epoch {opened.position.epoch + 1}.", flush=True)
    with opened.logging() as log:
        (outcome,) = train(
            OneByOne(experiment.program.step),
            [opened.begun()],
            opened.position,
            members=[opened.as_member(opened.name, log)],
            schedule=experiment.program.schedule,
            split=experiment.dataset.train,
            mesh=experiment.mesh,
            profile=profile,
            began=began,
        )
    if outcome.failure is not None:
        raise outcome.failure
    return opened.at(outcome)
