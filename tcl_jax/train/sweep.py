"""The loop around the step of a sweep: every member gets the curve and the checkpoints that it would have alone."""

import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from tcl_jax.data import Batch, Split, steps_per_epoch, train_batches
from tcl_jax.errors import Interrupted
from tcl_jax.parallel import local_rows, split_batch
from tcl_jax.run.checkpoint import Position
from tcl_jax.train.interruption import Interruption
from tcl_jax.train.member import Clock, Member, Outcome, Teller
from tcl_jax.train.state import TrainState
from tcl_jax.train.sweep_step import SweepStep


def train_members(
    step: SweepStep,
    states: Sequence[TrainState],
    position: Position,
    *,
    members: Sequence[Member],
    split: Split,
    mesh: Mesh,
) -> list[Outcome]:
    """Train all members from their states, which are of one step, to the end of the last epoch; shows a progress bar.

    A member whose numbers are no longer finite fails: it keeps the checkpoints that it has, and the others go on.

    Args:
      step: of all members.
      position: where they are, and what each took so far. Seconds are each member's equal share of those of the sweep.

    Raises:
      Interrupted: SIGINT or SIGTERM came; the states after the last whole step are saved.
      RunFailed: something of the runs cannot be written.
    """
    course, first_step = members[0].course, int(states[0].step)
    per_epoch = steps_per_epoch(len(members[0].examples), course.batch_size)
    views_per_step = course.batch_size * course.num_views
    rates = np.stack([member.course.learning_rates for member in members], axis=1)
    current = step.start(states)
    with (
        Interruption() as interruption,
        tqdm(
            total=course.epochs * per_epoch * views_per_step * len(members),
            initial=first_step * views_per_step * len(members),
            unit=" views",
            unit_scale=True,
            dynamic_ncols=True,
            desc=f"Training {len(members)} members",
        ) as bar,
    ):
        clock = Clock(position, len(members))
        tellers = [Teller(member, bar, views_per_step, clock) for member in members]

        def save(epochs_done: int, *, whole_epoch: bool) -> None:
            for number, teller in enumerate(tellers):
                teller.judge(step.member(current, number), epochs_done, whole_epoch=whole_epoch)
            for teller in tellers:
                teller.save(epochs_done)
            # All are whole before the next ones begin: whenever they are killed, all have a checkpoint of one step.
            for teller in tellers:
                teller.finish()

        for epoch in range(first_step // per_epoch, course.epochs):
            bar.set_postfix_str(f"epoch {epoch + 1}", refresh=False)
            first_batch = max(first_step - epoch * per_epoch, 0)
            batches = _batches(members, split, epoch, first_batch, mesh)
            for number in range(epoch * per_epoch + first_batch, (epoch + 1) * per_epoch):
                if (asked := interruption.before(number)) is not None:
                    save(epoch, whole_epoch=False)
                    raise Interrupted(asked, number)
                asked_at = time.monotonic()
                own_batches = next(batches)
                data_seconds = time.monotonic() - asked_at
                done = number + 1 - epoch * per_epoch
                closes = done % course.log_every_steps == 0 or done == per_epoch
                hypers = [
                    member.hyper._replace(learning_rate=rate, diagnose=np.bool_(closes))
                    for member, rate in zip(members, rates[number], strict=True)
                ]
                current, metrics = step(current, own_batches, hypers)
                for teller, own, rate in zip(tellers, metrics, rates[number], strict=True):
                    teller.add(number + 1, epoch, rate, own, data_seconds, closes=closes)
                if clock.starting:
                    jax.block_until_ready(metrics)
                    clock.first_step_done()
                    for teller in tellers:
                        teller.restart_clock()
            if (epoch + 1) % course.checkpoint_every_epochs == 0 or epoch + 1 == course.epochs:
                save(epoch + 1, whole_epoch=True)
            if all(teller.failure for teller in tellers):
                break
        if interruption.signal is not None:  # during the last step or save: the evaluation is still to come
            raise Interrupted(interruption.signal, course.epochs * per_epoch)
    return [
        Outcome(step.member(current, number), clock.position(course.epochs), teller.failure)
        for number, teller in enumerate(tellers)
    ]


def _batches(
    members: Sequence[Member], split: Split, epoch: int, first_batch: int, mesh: Mesh
) -> Iterator[list[Batch]]:
    """The batches of an epoch on the devices, for each member; members of one seed share theirs."""
    course = members[0].course
    of_seed = {
        int(member.hyper.seed): train_batches(
            split,
            course.batch_size,
            seed=int(member.hyper.seed),
            epoch=epoch,
            first_batch=first_batch,
            examples=member.examples,
            rows=local_rows(course.batch_size, mesh, course.micro_batches),
        )
        for member in members
    }
    for batches in zip(*of_seed.values(), strict=True):
        on_devices = dict(zip(of_seed, (split_batch(batch, mesh) for batch in batches), strict=True))
        yield [on_devices[int(member.hyper.seed)] for member in members]
