"""The loop around a step that only counts: which batches, which learning rates, which records and checkpoints."""

import os
import signal
import types

import jax.numpy as jnp
import numpy as np
import pytest

from tcl_jax.data import class_batches, epoch_order
from tcl_jax.errors import Interrupted
from tcl_jax.parallel import make_mesh, split_batch
from tcl_jax.run.stored import Position
from tcl_jax.train import loop
from tcl_jax.train import member as member_module
from tcl_jax.train.loop import train
from tcl_jax.train.state import TrainState
from tcl_jax.train.sweep_step import OneByOne
from tests.train.stand_ins import (
    BATCH,
    EPOCHS,
    IMAGES,
    PER_EPOCH,
    RATES,
    SEED,
    SPLIT,
    Learning,
    Recorder,
    member,
    run_loop,
    schedule,
)


def stop_clock(monkeypatch, now):
    """The loop's time is that of the one number in `now`."""
    for module in (loop, member_module):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))


@pytest.mark.parametrize("first_step", [0, 1, 3, 5, 8])
def test_every_step_has_its_own_batch_and_learning_rate_wherever_the_run_begins(first_step):
    recorder, (state, _) = run_loop(first_step)
    orders = [epoch_order(IMAGES, seed=SEED, epoch=e)[: PER_EPOCH * BATCH] for e in range(EPOCHS)]
    expected = np.concatenate(orders).reshape(-1, BATCH)[first_step:]
    np.testing.assert_array_equal(recorder.indices, expected)
    np.testing.assert_array_equal(recorder.rates, RATES[first_step:])
    assert state.step == EPOCHS * PER_EPOCH


def test_records_hold_the_mean_of_their_steps():
    recorder, _ = run_loop()
    squares = [[1, 4], [9], [16, 25], [36], [49, 64], [81]]
    assert [r["loss"] for r in recorder.records] == [pytest.approx(np.mean(s)) for s in squares]
    assert [(r["step"], r["epoch"], r["steps"]) for r in recorder.records] == [
        (2, 0, 2),
        (3, 0, 1),
        (5, 1, 2),
        (6, 1, 1),
        (8, 2, 2),
        (9, 2, 1),
    ]
    assert [r["learning_rate"] for r in recorder.records] == [
        float(RATES[r["step"] - 1]) for r in recorder.records
    ]


def test_records_hold_the_diagnostics_of_their_last_step():
    recorder, _ = run_loop()
    assert [r["alignment"] for r in recorder.records] == [r["step"] for r in recorder.records]


@pytest.mark.parametrize(("every_epochs", "saved"), [(1, [1, 2, 3]), (2, [2, 3]), (5, [3])])
def test_checkpoints_every_so_many_epochs_and_at_the_end(every_epochs, saved):
    recorder, (_, position) = run_loop(every_epochs=every_epochs)
    assert [(step, epoch) for step, epoch, _ in recorder.saved] == [(PER_EPOCH * e, e) for e in saved]
    assert position.epoch == EPOCHS


def test_time_of_earlier_processes_counts():
    recorder, (_, position) = run_loop(
        first_step=3, position=Position(1, train_seconds=100.0, compile_seconds=10.0)
    )
    assert position.train_seconds > 100
    assert 10 <= position.compile_seconds < position.train_seconds
    assert recorder.saved[-1][2] == position.train_seconds


def test_time_spent_on_held_out_images_is_counted_apart(monkeypatch):
    now = [0.0]

    def slow(variables):
        now[0] += 4
        return 0.5

    stop_clock(monkeypatch, now)
    _, (_, position) = run_loop(position=Position(validation_seconds=1), validate=slow)
    assert (position.validation_seconds, position.train_seconds, position.compile_seconds) == (9, 8, 0)


def test_nothing_is_left_after_the_last_epoch():
    recorder, (_, position) = run_loop(first_step=9, position=Position(3, 5.0, 1.0))
    assert recorder.indices == recorder.saved == []
    assert position == Position(3, 5.0, 1.0)


def test_records_hold_the_time_spent_on_batches(monkeypatch):
    now = [0.0]

    def slow_split_batch(batch, mesh):
        now[0] += 2
        return split_batch(batch, mesh)

    stop_clock(monkeypatch, now)
    monkeypatch.setattr(loop, "split_batch", slow_split_batch)
    recorder, _ = run_loop()
    assert [r["data_seconds"] for r in recorder.records] == [4, 2] * EPOCHS


def test_images_that_are_held_out_are_in_no_batch():
    examples = np.setdiff1d(np.arange(IMAGES, dtype=np.int32), [3, 44])  # leaves as many steps in an epoch
    recorder, _ = run_loop(examples=examples)
    orders = [examples[epoch_order(48, seed=SEED, epoch=e)] for e in range(EPOCHS)]
    np.testing.assert_array_equal(np.concatenate(recorder.indices), np.concatenate(orders))


def knn_of(variables):
    return float(variables["params"]["w"][0]) / 10


class Tracing:
    """Stands for a profile of three steps: a context manager that is called for every step."""

    def __init__(self):
        self.begun, self.ended, self.left = [], 0, False

    def begin_step(self, number, *, first):
        self.begun.append((number, first))
        return number == 5

    def end_step(self, metrics):
        assert all("loss" in own for own in metrics)
        self.ended += 1
        return number_of(self) == 7

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.left = True


def number_of(tracing):
    return tracing.begun[-1][0]


def test_a_profile_sees_every_step_and_is_left_at_the_end():
    tracing = Tracing()
    run_loop(first_step=4, profile=tracing)
    assert tracing.begun == [(4, True), (5, False), (6, False), (7, False), (8, False)]
    assert tracing.ended == 5
    assert tracing.left


def test_a_record_that_a_signal_cuts_short_has_no_diagnostics():
    class Signalled(Recorder):
        def step(self, *arguments):
            if len(self.rates) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().step(*arguments)

    recorder = Signalled()
    with pytest.raises(Interrupted, match="after step 4, which is saved"):
        run_loop(recorder=recorder)
    assert [(r["step"], r["steps"], "alignment" in r) for r in recorder.records] == [
        (2, 2, True),
        (3, 1, True),
        (4, 1, False),
    ]


def test_the_accuracy_of_held_out_images_is_on_record_before_the_checkpoint_is_made():
    recorder, _ = run_loop(recorder=Learning(), validate=knn_of)
    assert recorder.order == [
        {"step": 6, "epoch": 1, "validation_knn": pytest.approx(0.6)},
        (6, pytest.approx(0.6)),
        {"step": 9, "epoch": 2, "validation_knn": pytest.approx(0.9)},
        (9, pytest.approx(0.9)),
    ]


def test_a_signal_in_the_middle_of_an_epoch_waits_for_no_accuracy():
    class Signalled(Learning):
        def step(self, *arguments):
            if len(self.rates) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().step(*arguments)

    recorder = Signalled()
    with pytest.raises(Interrupted, match="after step 5, which is saved"):
        run_loop(recorder=recorder, validate=knn_of, every_epochs=1)
    assert recorder.order == [
        {"step": 3, "epoch": 0, "validation_knn": pytest.approx(0.3)},
        (3, pytest.approx(0.3)),
        (5, None),
    ]


class Broken(Recorder):
    """Its loss is not a number from a step on."""

    def __init__(self, step):
        super().__init__()
        self.first = step

    def step(self, state, batch, hyper):
        state, metrics = super().step(state, batch, hyper)
        return state, metrics | ({"loss": jnp.float32(np.nan)} if state.step >= self.first else {})

    def finish(self):
        pass


class ForEach(OneByOne):
    """Each member has a step of its own."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, states, batches, hypers):
        done = [step(*own) for step, *own in zip(self.steps, states, batches, hypers, strict=True)]
        return [state for state, _ in done], [metrics for _, metrics in done]


def run_all(recorders, seeds):
    states = [TrainState(jnp.int32(0), {"w": jnp.zeros(2)}, {}, (), None, jnp.int32(0)) for _ in recorders]
    members = [
        member(recorder, seed=seed, name=f"run {number}")
        for number, (recorder, seed) in enumerate(zip(recorders, seeds, strict=True))
    ]
    steps = ForEach([recorder.step for recorder in recorders])
    return train(
        steps, states, Position(), members=members, schedule=schedule(1), split=SPLIT, mesh=make_mesh(8)
    )


def test_a_member_that_fails_leaves_the_others_as_they_are_alone(capsys):
    recorders = [Broken(100), Broken(5), Broken(100)]
    outcomes = run_all(recorders, [SEED, SEED, 9])
    assert [outcome.failure is None for outcome in outcomes] == [True, False, True]
    assert str(outcomes[1].failure).startswith("The loss became nan at step 5; no checkpoint")
    assert "run 1: The loss became nan" in capsys.readouterr().out
    alone, _ = run_loop(every_epochs=1)
    for name in ("rates", "indices"):
        np.testing.assert_array_equal(getattr(recorders[0], name), getattr(alone, name))
    assert [r["loss"] for r in recorders[0].records] == [r["loss"] for r in alone.records]
    assert [saved[:2] for saved in recorders[0].saved] == [saved[:2] for saved in alone.saved]
    assert [saved[:2] for saved in recorders[1].saved] == [(3, 1)]
    assert not np.array_equal(recorders[2].indices, alone.indices)  # of another seed


def test_where_all_members_have_failed_the_loop_ends():
    recorders = [Broken(2), Broken(4)]
    outcomes = run_all(recorders, [SEED, SEED])
    assert all(outcome.failure for outcome in outcomes)
    assert len(recorders[0].rates) < EPOCHS * PER_EPOCH


def test_the_time_of_all_members_is_shared_equally(monkeypatch):
    now = [0.0]

    class Slow(Broken):
        def step(self, *arguments):
            now[0] += 2
            return super().step(*arguments)

    stop_clock(monkeypatch, now)
    outcomes = run_all([Slow(100), Slow(100)], [SEED, SEED])
    assert {outcome.position.train_seconds for outcome in outcomes} == {2.0 * EPOCHS * PER_EPOCH}


@pytest.mark.parametrize("first_step", [0, 1, 3, 5, 8])
def test_batches_by_class_are_those_of_the_epoch_wherever_the_run_begins(first_step):
    labels = np.arange(IMAGES, dtype=np.int32) % 5
    orders = [class_batches(labels, BATCH, 4, seed=SEED, epoch=e) for e in range(EPOCHS)]
    assert {len(order) for order in orders} == {PER_EPOCH}
    recorder, _ = run_loop(first_step, split=SPLIT._replace(labels=labels), images_per_class=4)
    np.testing.assert_array_equal(recorder.indices, np.concatenate(orders)[first_step:])
