"""Train a grid of runs in one compiled program. Each member is a run like any other, in a folder of its own."""

import contextlib
import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from tcl_jax.experiment.build import Experiment, build_experiment, member_of
from tcl_jax.experiment.grid import GridPoint, grid, parse_axes
from tcl_jax.experiment.opened import Run, hold, open_run
from tcl_jax.experiment.page import command_of
from tcl_jax.experiment.parts import check_numbers
from tcl_jax.experiment.results import evaluate_run
from tcl_jax.modes.compare import read_run, write_comparison
from tcl_jax.processes import on_first, together
from tcl_jax.run.stored import last_whole_step
from tcl_jax.run.workdir import ConfigFile, Workdir
from tcl_jax.train.interruption import evaluating
from tcl_jax.train.loop import train
from tcl_jax.train.sweep_step import AtOnce, OneByOne, SweepStep


def run(
    config: ConfigDict,
    workdir: Workdir,
    config_name: str,
    axes_given: Sequence[str],
    *,
    config_file: ConfigFile | None = None,
) -> None:
    """Train and evaluate all members that are not complete, from their checkpoints; then compare all.

    Args:
      workdir: the members are in folders of it that have their names.
      axes_given: words such as "loss.k1=10,100,1000".
      config_file: where the config is from, for the commands on the pages.

    Raises:
      UserError: the config, the axes or the data cannot be used, or a folder holds another run.
      RunFailed: something of a run cannot be written or read.
    """
    on_first(workdir.require_plain_path)
    points = grid(config, parse_axes(axes_given, config))
    for point in points:
        check_numbers(point.config)
    folders = {point.name: Workdir(str(workdir.path / point.name)) for point in points}
    complete = on_first(lambda: [_complete(folders[point.name], config) for point in points])
    pending = [point for point, done in zip(points, complete, strict=True) if not done]
    experiment = None
    if pending:
        begins, began_with = on_first(lambda: _beginnings([folders[point.name] for point in pending]))
        experiment = together(lambda: build_experiment(config, begins=begins, began_with=began_with))
    failures: dict[str, str] = {}
    with workdir.locked(), workdir.failures_reported(), contextlib.ExitStack() as stack:
        runs: dict[str, Run] = {}
        for point in points:
            folder = folders[point.name]
            if experiment is None or point not in pending:
                stack.enter_context(hold(config_name, point.config, folder, config_file=config_file))
            else:
                own = member_of(experiment, point.config)
                opened = open_run(config_name, own, folder, config_file=config_file)
                runs[point.name] = stack.enter_context(opened)
        if experiment is not None:
            mesh = experiment.mesh
            print(
                f"Training {len(pending)} of the {len(points)} members of a sweep of {config_name} "
                f"({config.loss.name} on {experiment.dataset.name}) "
                f"on {mesh.size} x {mesh.devices.flat[0].device_kind} in {workdir.path}",
                flush=True,
            )
            failures = _train(experiment, runs)
        on_first(lambda: _compare(workdir, config_name, config, axes_given, points, folders, failures))


def _beginnings(folders: Sequence[Workdir]) -> tuple[bool, list[dict[str, dict[str, Any]]]]:
    """Whether a member begins now, and the data with which the others began."""
    begun = [folder for folder in folders if last_whole_step(folder.checkpoints) is not None]
    return len(begun) < len(folders), [folder.read_data() for folder in begun]


def _complete(workdir: Workdir, config: ConfigDict) -> bool:
    results = workdir.read_results()
    return results is not None and results["epochs"] >= config.train.epochs


def _train(experiment: Experiment, runs: dict[str, Run]) -> dict[str, str]:
    """Train and evaluate the runs, in as few programs as their checkpoints allow; why runs failed, by name."""
    failures: dict[str, str] = {}
    while runs:
        group, runs = _next_group(runs)
        failures |= _train_group(experiment, group)
    return failures


def _next_group(runs: Mapping[str, Run]) -> tuple[dict[str, Run], dict[str, Run]]:
    """Those that can go on from the step of the one that is least far, and the others.

    A killed sweep leaves members with one checkpoint more than others: they go back by one, to train with the rest.
    """
    first = min(run.step for run in runs.values())
    group, others = {}, {}
    for name, run in runs.items():
        if run.step == first:
            group[name] = run
        elif first and run.checkpoints.has(first):
            program = run.experiment.program
            state, position = run.checkpoints.restore(first, program.state_shapes(), run.experiment.mesh)
            group[name] = dataclasses.replace(run, state=state, position=position)
        else:
            others[name] = run
    return group, others


def _train_group(experiment: Experiment, group: Mapping[str, Run]) -> dict[str, str]:
    """Train and evaluate runs that are at the same step; why runs failed, by name."""
    first = next(iter(group.values()))
    if first.step:
        print(f"Continuing with {', '.join(group)} after step {first.step}.", flush=True)
    with contextlib.ExitStack() as logs:
        members = [run.as_member(name, logs.enter_context(run.logging())) for name, run in group.items()]
        outcomes = train(
            _sweep_step(experiment, len(group)),
            [run.begun() for run in group.values()],
            first.position,
            members=members,
            schedule=experiment.program.schedule,
            split=experiment.dataset.train,
            mesh=experiment.mesh,
        )
    failures = {}
    for (name, run), outcome in zip(group.items(), outcomes, strict=True):
        if outcome.failure is not None:
            failures[name] = str(outcome.failure)
        else:
            trained = run.at(outcome)
            with evaluating(trained.step):
                evaluate_run(trained, show=False)
    return failures


def _sweep_step(experiment: Experiment, members: int) -> SweepStep:
    """The faster way for the devices of the experiment, as far as it is known."""
    if experiment.mesh.devices.flat[0].platform == "cpu" or members == 1:
        return OneByOne(experiment.program.step)
    return AtOnce(experiment.program.device_step, experiment.mesh)


def _compare(
    workdir: Workdir,
    config_name: str,
    config: ConfigDict,
    axes_given: Sequence[str],
    points: Sequence[GridPoint],
    folders: Mapping[str, Workdir],
    failures: Mapping[str, str],
) -> None:
    """Compare the members that are complete, and name those that failed."""
    runs = [found for folder in folders.values() if (found := read_run(folder)) is not None]
    sweep = shlex.join(["--mode=sweep", *(f"--sweep={word}" for word in axes_given)])
    config_file = folders[points[0].name].read_config_file()
    again = f"{command_of(config, config_file, str(workdir.path))} {sweep}"
    write_comparison(workdir, f"Sweep of {config_name}", runs, failures=failures, again=again)
