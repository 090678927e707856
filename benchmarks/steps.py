"""Training steps of an experiment, to be timed: its programs, its batches, and rounds of several steps."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags

from benchmarks.experiment import CONFIG
from benchmarks.timing import interleave
from tcl_jax.data import Batch, train_batches
from tcl_jax.errors import UserError
from tcl_jax.experiment.build import Experiment, build_experiment
from tcl_jax.experiment.program import Program, make_program

STEPS = flags.DEFINE_integer("steps", 3, "Steps in a round.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 60, "Time to spend on rounds; at least two are made.")


def build() -> Experiment:
    """The experiment of the command line.

    Raises:
      SystemExit: a field of the config has a value that is not possible.
    """
    try:
        return build_experiment(CONFIG.value)
    except UserError as error:
        raise SystemExit(f"error: {error}") from error


def variant(experiment: Experiment, **parts: Any) -> Program:
    """The program of the experiment with other `Parts` in the place of some."""
    return make_program(experiment.config, experiment.program.parts._replace(**parts), experiment.facts)


def without_augmentation(experiment: Experiment, **parts: Any) -> Program:
    """The variant whose views are the images as they are."""
    policies = (lambda key, image: image,) * experiment.program.schedule.num_views
    return variant(experiment, policies=policies, **parts)


def batches(experiment: Experiment) -> Iterator[Batch]:
    """The batches of one epoch after the other, as training reads them."""
    size, examples = experiment.program.schedule.batch_size, experiment.settings.split.train
    for epoch in itertools.count():
        yield from train_batches(experiment.dataset.train, size, seed=0, epoch=epoch, examples=examples)


def time_rounds(runs: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds of each round of each method, after a first one that compiles it.

    Raises:
      SystemExit: a method failed.
    """
    for run in runs.values():
        run()
    times, failed = interleave(runs, _SECONDS.value, at_least=2)
    if failed:
        raise SystemExit(f"error: {failed}")
    return times
