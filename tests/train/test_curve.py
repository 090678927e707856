"""The rate in the records, by a clock and a device that the test moves."""

import numpy as np
import pytest

from tcl_jax.errors import RunFailed
from tests.train.stand_ins import VIEWS_OF_STEP, Bench


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def test_compilation_is_not_a_part_of_the_first_rate(bench):
    bench.step(at=0)
    bench.now = 50
    bench.curve.restart_clock()  # the first step is done
    bench.step(at=51)
    bench.curve.close_interval()
    bench.step(at=52)
    bench.step(at=53)
    bench.curve.close_interval()
    assert bench.rates() == [3 * VIEWS_OF_STEP / 3]  # steps 2 to 4, between 50 and 53


def test_a_host_that_is_slower_than_the_device_gives_the_rate_of_the_host(bench):
    for number in range(1, 9):
        bench.step(at=2 * number)
        if number % 2 == 0:
            bench.curve.close_interval()
    bench.curve.flush()
    # Read one interval late, and yet each covers the time in which its number of steps were done.
    assert bench.rates() == [VIEWS_OF_STEP / 2] * 4
    assert [record["steps"] for record in bench.records] == [2] * 4


def test_a_device_that_is_slower_than_the_host_gives_the_rate_of_the_device(bench):
    for number in range(1, 9):
        bench.step(at=max(bench.now, 0.01 * number), ready_at=10.0 * number)
        if number % 2 == 0:
            bench.curve.close_interval()
    bench.curve.flush()
    # At the end two records are read at once, and share a rate.
    assert bench.rates() == pytest.approx([VIEWS_OF_STEP / 10] * 4)


def test_a_pause_is_not_a_part_of_the_rate(bench):
    bench.step(at=1)
    bench.curve.flush()
    bench.now = 500  # evaluating and saving
    bench.curve.restart_clock()
    bench.step(at=502)
    bench.curve.flush()
    assert bench.rates() == [VIEWS_OF_STEP / 1, VIEWS_OF_STEP / 2]


def test_where_no_step_ended_there_is_no_rate_and_its_time_is_not_lost(bench):
    bench.step(at=0)
    bench.now = 10
    bench.curve.restart_clock()
    bench.curve.close_interval()
    bench.step(at=11, ready_at=14)
    bench.curve.close_interval()
    bench.curve.flush()
    assert bench.rates() == [None, VIEWS_OF_STEP / 4]


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
    with pytest.raises(RunFailed, match=r"The loss became nan at step 2; the last good .* step 3"):
        bench.curve.flush()
    assert bench.records == []
