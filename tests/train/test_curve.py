"""The rate in the records, by a clock and a device that the test moves."""

import types

import numpy as np
import pytest

from tcl_jax.errors import RunFailed
from tcl_jax.train import curve as module
from tcl_jax.train.curve import Curve

VIEWS = 8  # of each step


class Loss:
    """Stands for a loss on the device, there or not yet there; waiting for it lets the clock go on."""

    def __init__(self, clock, value=1.0, ready_at=0.0):
        self.clock, self.value, self.ready_at = clock, value, ready_at

    def is_ready(self):
        return self.clock.now >= self.ready_at

    def block_until_ready(self):
        self.clock.now = max(self.clock.now, self.ready_at)
        return self

    def __array__(self, dtype=None, copy=None):
        assert self.is_ready()
        return np.asarray(self.value, np.float32)


class Bench:
    """A curve with everything around it."""

    def __init__(self, monkeypatch):
        self.now, self.records, self.shown, self.steps = 0.0, [], "", 0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        bar = types.SimpleNamespace(update=lambda n: None, set_postfix_str=self.show)
        checkpoints = types.SimpleNamespace(latest_step=lambda: 3)
        self.curve = Curve(types.SimpleNamespace(append=self.records.append), bar, VIEWS, checkpoints)

    def show(self, text, refresh):
        self.shown = text

    def step(self, at, data_seconds=0.0, **loss):
        self.now, self.steps = at, self.steps + 1
        self.curve.add(self.steps, 0, 0.1, {"loss": Loss(self, **loss)}, data_seconds)

    def rates(self):
        return [record["views_per_second"] for record in self.records]


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def test_compilation_is_no_part_of_the_first_rate(bench):
    bench.step(at=0)
    bench.now = 50
    bench.curve.restart_clock()  # the first step is done
    bench.step(at=51)
    bench.curve.close_interval()
    bench.step(at=52)
    bench.step(at=53)
    bench.curve.close_interval()
    assert bench.rates() == [3 * VIEWS / 3]  # steps 2 to 4, between 50 and 53


def test_a_host_that_is_slower_than_the_device_gives_the_rate_of_the_host(bench):
    for number in range(1, 9):
        bench.step(at=2 * number)
        if number % 2 == 0:
            bench.curve.close_interval()
    bench.curve.flush()
    # Read one interval late, and yet each covers the time in which its number of steps were done.
    assert bench.rates() == [VIEWS / 2] * 4
    assert [record["steps"] for record in bench.records] == [2] * 4


def test_a_device_that_is_slower_than_the_host_gives_the_rate_of_the_device(bench):
    for number in range(1, 9):
        bench.step(at=max(bench.now, 0.01 * number), ready_at=10.0 * number)
        if number % 2 == 0:
            bench.curve.close_interval()
    bench.curve.flush()
    # At the end two records are read at once, and share a rate.
    assert bench.rates() == pytest.approx([VIEWS / 10] * 4)


def test_a_pause_is_no_part_of_the_rate(bench):
    bench.step(at=1)
    bench.curve.flush()
    bench.now = 500  # evaluating and saving
    bench.curve.restart_clock()
    bench.step(at=502)
    bench.curve.flush()
    assert bench.rates() == [VIEWS / 1, VIEWS / 2]


def test_where_no_step_ended_there_is_no_rate_and_its_time_is_not_lost(bench):
    bench.step(at=0)
    bench.now = 10
    bench.curve.restart_clock()
    bench.curve.close_interval()
    bench.step(at=11, ready_at=14)
    bench.curve.close_interval()
    bench.curve.flush()
    assert bench.rates() == [None, VIEWS / 4]


def test_time_spent_on_data_is_added_up_for_each_record(bench):
    for seconds in (0.5, 0.25, 2.0):
        bench.step(at=1, data_seconds=seconds)
        if seconds < 0.5:
            bench.curve.close_interval()
    bench.curve.flush()
    assert [record["data_seconds"] for record in bench.records] == [0.75, 2.0]


def test_the_accuracy_stays_beside_the_loss_that_is_shown(bench):
    bench.step(at=1, value=2.5)
    bench.curve.flush()
    bench.curve.add_validation(1, 0, "knn", 0.75)
    assert bench.shown == "epoch 1, loss 2.5000, kNN 0.7500"
    bench.step(at=2, value=1.5)
    bench.curve.flush()
    assert bench.shown == "epoch 1, loss 1.5000, kNN 0.7500"
    assert bench.records[1] == {"step": 1, "epoch": 0, "validation_knn": 0.75}


def test_a_loss_that_is_not_finite_is_named_with_its_step_and_not_recorded(bench):
    bench.step(at=1)
    bench.step(at=2, value=np.nan)
    bench.step(at=3)
    bench.curve.close_interval()
    with pytest.raises(
        RunFailed, match=r"The loss is nan, which is not finite at step 2; the last good .* step 3"
    ):
        bench.curve.flush()
    assert bench.records == []
