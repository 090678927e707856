"""Training steps of an experiment, to be timed: its parts, its batches, and rounds of several steps."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from benchmarks import experiment
from benchmarks.timing import interleave
from tcl_jax.data import Batch, train_batches
from tcl_jax.errors import UserError
from tcl_jax.experiment.build import Experiment, build_experiment

STEPS = flags.DEFINE_integer("steps", 3, "Steps in a round.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 60, "Time to spend on rounds; at least two are made.")


def build() -> Experiment:
    """The parts of the experiment.

    Raises:
      SystemExit: a field of the config has a value that is not possible.
    """
    try:
        return build_experiment(experiment.CONFIG.value)
    except UserError as error:
        raise SystemExit(f"error: {error}") from error


def is_contrastive(config: ConfigDict) -> bool:
    """Whether the loss compares pairs of rows."""
    return config.loss.name != "cross_entropy"


def batches(parts: Experiment) -> Iterator[Batch]:
    """The batches of one epoch after the other, as training reads them."""
    size, examples = parts.training.course.batch_size, parts.training.division.train
    for epoch in itertools.count():
        yield from train_batches(parts.dataset.train, size, seed=0, epoch=epoch, examples=examples)


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
