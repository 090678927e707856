"""The loop around the step, for one run or for those of a sweep: batches in, records and checkpoints out."""

import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh
from tqdm import tqdm

from tcl_jax.data import Batch, Split, train_batches
from tcl_jax.errors import Interrupted
from tcl_jax.parallel import local_rows, split_batch
from tcl_jax.run.stored import Position
from tcl_jax.train.interruption import Interruption
from tcl_jax.train.member import Clock, Member, Outcome, Recorder
from tcl_jax.train.profile import Profile
from tcl_jax.train.schedule import Schedule
from tcl_jax.train.state import TrainState
from tcl_jax.train.sweep_step import SweepStep


def train(
    step: SweepStep,
    states: Sequence[TrainState],
    position: Position,
    *,
    members: Sequence[Member],
    schedule: Schedule,
    split: Split,
    mesh: Mesh,
    profile: Profile | None = None,
    began: float | None = None,
) -> list[Outcome]:
    """Train all members from their states, which are of one step, to the end of the last epoch; shows a progress bar.

    The order of examples is a pure function of a member's seed and the epoch, so that a run continued from any state
    makes the same steps as one that was never interrupted. A member whose loss or parameters are no longer finite
    fails: it keeps the checkpoints that it has, and the others go on.

    Args:
      step: of all members.
      states: one for each member; they are donated.
      position: where the members are. The time that they take is shared equally.
      split: the training images; each member trains on those of its examples.
      profile: of steps to trace; None traces none.
      began: when the program began, by time.monotonic(), for the time to the first step; None: now.

    Returns:
      what became of each member; the loop ends early where all have failed.

    Raises:
      Interrupted: SIGINT or SIGTERM came; the states after the last whole step are saved.
      RunFailed: something of the runs cannot be written.
    """
    first_step, many = int(states[0].step), len(members) > 1
    rates = np.stack([member.learning_rates for member in members], axis=1)
    current = step.start(states)
    del states  # a step donates them: nobody else shall hold their memory
    with (
        Interruption() as interruption,
        tqdm(
            total=schedule.steps * schedule.views_per_step * len(members),
            initial=first_step * schedule.views_per_step * len(members),
            unit=" views",
            unit_scale=True,
            dynamic_ncols=True,
            desc=f"Training {len(members)} runs" if many else "Training",
        ) as bar,
        profile or Profile(epath.Path(), 0) as tracing,
    ):
        clock = Clock(position, len(members), began)
        recorders = [
            Recorder(member, schedule, _EpochBar(bar) if many else bar, clock, announce=many)
            for member in members
        ]

        def restart_clocks() -> None:
            for recorder in recorders:
                recorder.restart_clock()

        def save(epochs_done: int, *, whole_epoch: bool) -> Position:
            for number, recorder in enumerate(recorders):
                recorder.check(step.member(current, number), epochs_done, whole_epoch=whole_epoch)
            saved = clock.position(epochs_done)
            for recorder in recorders:
                recorder.save(saved)
            # All are whole before the next ones begin, so that after a kill all have a checkpoint of one step.
            if many:
                for member in members:
                    member.checkpoints.finish()
            restart_clocks()
            return saved

        batches = _batches(members, split, schedule, mesh, first_step)
        for number in range(first_step, schedule.steps):
            epoch = number // schedule.steps_per_epoch
            if (asked := interruption.before(number)) is not None:
                save(epoch, whole_epoch=False)
                if any(recorder.failure is None for recorder in recorders):
                    raise Interrupted(asked, number)
                break
            if tracing.begin_step(number, first=clock.starting):
                restart_clocks()
            asked_at = time.monotonic()
            own_batches = next(batches)
            data_seconds = time.monotonic() - asked_at
            closes = schedule.logs_after(number + 1)
            hypers = [
                member.hyper._replace(learning_rate=rate, diagnose=np.bool_(closes))
                for member, rate in zip(members, rates[number], strict=True)
            ]
            current, metrics = step(current, own_batches, hypers)
            for recorder, own in zip(recorders, metrics, strict=True):
                recorder.add(number + 1, epoch, own, data_seconds, closes=closes)
            if clock.starting:
                jax.block_until_ready(metrics)
                clock.first_step_done()
                restart_clocks()
            if tracing.end_step(metrics):
                restart_clocks()
            epochs_done, rest = divmod(number + 1, schedule.steps_per_epoch)
            if not rest and schedule.saves_after(epochs_done):
                position = save(epochs_done, whole_epoch=True)
            if all(recorder.failure for recorder in recorders):
                break
        else:
            if interruption.signal is not None:  # in the last step or save: the evaluation is still to come
                raise Interrupted(interruption.signal, schedule.steps)
    return [
        Outcome(step.member(current, number), position, recorder.failure)
        for number, recorder in enumerate(recorders)
    ]


class _EpochBar:
    """The bar of all members as one of them sees it: it counts its views, and shows nothing but the epoch."""

    def __init__(self, bar: tqdm):
        self._bar = bar
        self.update = bar.update

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Show the epoch of a text such as "epoch 3, loss 2.1"."""
        self._bar.set_postfix_str(text.partition(",")[0], refresh=refresh)


def _batches(
    members: Sequence[Member], split: Split, schedule: Schedule, mesh: Mesh, first_step: int
) -> Iterator[list[Batch]]:
    """From a step on, the batch of each member on the devices; members of one seed share theirs."""
    seeds = [int(member.hyper.seed) for member in members]
    examples = dict(zip(seeds, (member.examples for member in members), strict=True))
    for epoch in range(first_step // schedule.steps_per_epoch, schedule.epochs):
        of_seeds = [
            train_batches(
                split,
                schedule.batch_size,
                seed=seed,
                epoch=epoch,
                first_batch=max(first_step - epoch * schedule.steps_per_epoch, 0),
                examples=own,
                rows=local_rows(schedule.batch_size, mesh, schedule.micro_batches),
                images_per_class=schedule.images_per_class,
            )
            for seed, own in examples.items()
        ]
        for batches in zip(*of_seeds, strict=True):
            on_devices = dict(zip(examples, (split_batch(batch, mesh) for batch in batches), strict=True))
            yield [on_devices[seed] for seed in seeds]
