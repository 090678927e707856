"""Train a grid of runs in one compiled program. Each member is a run like any other, in a folder of its own."""

import contextlib
import dataclasses
import functools
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from tcl_jax.evaluate import make_validate
from tcl_jax.experiment.build import (
    Experiment,
    build_experiment,
    build_training,
    check_config,
    check_init_from,
)
from tcl_jax.experiment.grid import GridPoint, grid, parse_axes
from tcl_jax.experiment.run_page import config_file, fields_of
from tcl_jax.modes.compare import read_run, write_comparison
from tcl_jax.modes.evaluate import evaluate_and_report
from tcl_jax.parallel import make_mesh
from tcl_jax.processes import is_first, on_first, together
from tcl_jax.run.checkpoint import Checkpoints, Position
from tcl_jax.run.metrics_log import MetricsLog, NoLog
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.member import Member
from tcl_jax.train.state import TrainState
from tcl_jax.train.sweep import train_members
from tcl_jax.train.sweep_step import AtOnce, OneByOne, SweepStep


class _Run(NamedTuple):
    """A member that is still to be trained, and where it is."""

    point: GridPoint
    workdir: Workdir
    experiment: Experiment
    checkpoints: Checkpoints
    state: TrainState
    position: Position


def run(config: ConfigDict, workdir: Workdir, config_name: str, axes_given: Sequence[str]) -> None:
    """Train and evaluate all members that are not complete, from their checkpoints; then show the figures of all.

    Args:
      workdir: the members are in folders of it that have their names.
      axes_given: words such as "loss.k1=10,100,1000".

    Raises:
      UserError: the config, the axes or the data cannot be used, or a folder holds another run.
      RunFailed: something of a run cannot be written or read.
    """
    points = grid(config, parse_axes(axes_given, config))
    mesh = make_mesh()
    for point in points:
        check_config(point.config, mesh)
    folders = {point.name: Workdir(str(workdir.path / point.name)) for point in points}
    complete = on_first(lambda: [_complete(folders[point.name], config) for point in points])
    pending = [point for point, done in zip(points, complete, strict=True) if not done]
    fresh = any(not folders[point.name].checkpoints.exists() for point in pending)
    experiment = _build(config, fresh=fresh) if pending else None
    facts = None if experiment is None else experiment.facts._asdict()
    failures: dict[str, str] = {}
    with workdir.locked(), workdir.failures_told(), contextlib.ExitStack() as stack:
        for point in points:
            folder = folders[point.name]
            stack.enter_context(folder.locked())
            on_first(functools.partial(folder.claim, config_name, point.config, facts=facts))
        if experiment is not None:
            print(
                f"Training {len(pending)} of the {len(points)} members of a sweep of {config_name} "
                f"({experiment.loss_name} on {experiment.dataset.name}) "
                f"on {mesh.size} x {mesh.devices.flat[0].device_kind} in {workdir.path}",
                flush=True,
            )
            failures = _train(experiment, config_name, pending, folders, stack)
        on_first(lambda: _tell(workdir, config_name, config, axes_given, folders, failures))


def _build(config: ConfigDict, *, fresh: bool) -> Experiment:
    """The parts that all members share; a file of model.init_from is looked at where a member begins with it."""
    if fresh:
        together(lambda: check_init_from(config))  # rather now than when the data are loaded
    experiment = together(lambda: build_experiment(config))
    if fresh:
        together(lambda: check_init_from(config, channels=experiment.facts.image_shape[-1]))
    return experiment


def _complete(workdir: Workdir, config: ConfigDict) -> bool:
    results = workdir.read_results()
    return results is not None and results["epochs"] >= config.train.epochs


def _train(
    experiment: Experiment,
    config_name: str,
    points: Sequence[GridPoint],
    folders: dict[str, Workdir],
    stack: contextlib.ExitStack,
) -> dict[str, str]:
    """Train and evaluate the members, in as few programs as their checkpoints allow; why members failed, by name."""
    experiments = _member_experiments(experiment, points)
    template = jax.eval_shape(experiment.training.initial_state)
    runs = []
    initial: dict[int, TrainState] = {}
    for point, own in zip(points, experiments, strict=True):
        checkpoints = stack.enter_context(Checkpoints(folders[point.name].checkpoints))
        restored = checkpoints.restore_latest(template, experiment.mesh)
        if restored is None:
            if own.seed not in initial:
                initial[own.seed] = own.training.initial_state()
            restored = initial[own.seed], Position()
        runs.append(_Run(point, folders[point.name], own, checkpoints, *restored))
    failures: dict[str, str] = {}
    while runs:
        group, runs = _next_group(runs, template)
        failures |= _train_group(experiment, config_name, group)
    return failures


def _next_group(runs: Sequence[_Run], template: Any) -> tuple[list[_Run], list[_Run]]:
    """Those that can go on from the step of the one that is least far, and the others.

    A killed sweep leaves members with one checkpoint more than others: they go back by one, to train with the rest.
    """
    first = min(int(run.state.step) for run in runs)
    group, others = [], []
    for run in runs:
        if int(run.state.step) == first:
            group.append(run)
        elif first and run.checkpoints.has(first):
            state, position = run.checkpoints.restore(first, template, run.experiment.mesh)
            group.append(run._replace(state=state, position=position))
        else:
            others.append(run)
    return group, others


def _member_experiments(experiment: Experiment, points: Sequence[GridPoint]) -> list[Experiment]:
    """`experiment` with the settings of each point; what is compiled is shared by all."""
    made = []
    for point in points:
        own = build_training(point.config, experiment.facts, experiment.mesh)
        training = dataclasses.replace(
            experiment.training,
            hyper=own.hyper,
            course=own.course,
            division=own.division,
            initial_state=functools.partial(experiment.training.initial_state, point.config.seed),
        )
        validate = experiment.validate
        if validate is not None and point.config.seed != experiment.seed:
            validate = make_validate(
                experiment.encode,
                experiment.dataset.train,
                own.division,
                num_classes=experiment.facts.num_classes,
                batch_size=own.course.images_at_once,
                mesh=experiment.mesh,
            )
        made.append(
            dataclasses.replace(experiment, training=training, validate=validate, seed=point.config.seed)
        )
    return made


def _train_group(experiment: Experiment, config_name: str, group: Sequence[_Run]) -> dict[str, str]:
    """Train and evaluate members that are at the same step; why members failed, by name."""
    first_step = int(group[0].state.step)
    if first_step:
        print(
            f"Continuing with {', '.join(run.point.name for run in group)} after step {first_step}.",
            flush=True,
        )
    with contextlib.ExitStack() as logs:
        members = [
            Member(
                run.point.name,
                run.experiment.training.hyper,
                run.experiment.training.course,
                run.experiment.training.division.train,
                run.experiment.validate,
                _open_log(run.workdir, first_step, logs),
                run.checkpoints,
            )
            for run in group
        ]
        outcomes = train_members(
            _sweep_step(experiment),
            [run.state for run in group],
            group[0].position,
            members=members,
            split=experiment.dataset.train,
            mesh=experiment.mesh,
        )
    failures = {}
    for run, (state, position, failure) in zip(group, outcomes, strict=True):
        if failure is not None:
            failures[run.point.name] = str(failure)
            continue
        best = run.checkpoints.best()
        evaluate_and_report(run.experiment, state, position, best, run.workdir, config_name, tell=False)
    return failures


def _sweep_step(experiment: Experiment) -> SweepStep:
    """The faster way for the devices of the experiment, as far as it is known."""
    if experiment.mesh.devices.flat[0].platform == "cpu":
        return OneByOne(experiment.training.step)
    return AtOnce(experiment.training.device_step, experiment.mesh)


def _open_log(workdir: Workdir, after_step: int, stack: contextlib.ExitStack) -> MetricsLog | NoLog:
    if not is_first():
        return NoLog()
    log = MetricsLog(workdir.metrics, workdir.tensorboard, after_step=after_step)
    stack.enter_context(log)
    return log


def _tell(
    workdir: Workdir,
    config_name: str,
    config: ConfigDict,
    axes_given: Sequence[str],
    folders: dict[str, Workdir],
    failures: dict[str, str],
) -> None:
    """Compare the members that are complete, and name those that failed."""
    from tcl_jax.report.page_settings import command  # it draws, which takes a second to import

    runs = [found for folder in folders.values() if (found := read_run(folder)) is not None]
    sweep = shlex.join(["--mode=sweep", *(f"--sweep={word}" for word in axes_given)])
    again = f"{command(*config_file(config_name), fields_of(config), str(workdir.path))} {sweep}"
    write_comparison(workdir, f"Sweep of {config_name}", runs, failures=failures, again=again)
