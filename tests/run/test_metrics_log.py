"""The curve on disk survives interruptions."""

import contextlib

import pytest
from etils import epath

from tcl_jax.run.metrics_log import MetricsLog, read_metrics


@pytest.fixture
def path(tmp_path):
    return epath.Path(tmp_path / "metrics.jsonl")


@pytest.fixture
def start(path):
    """Starts a log after a step."""
    with contextlib.ExitStack() as stack:
        yield lambda after_step: stack.enter_context(
            MetricsLog(path, path.parent / "tensorboard", after_step=after_step)
        )


def test_records_come_back_in_order(path, start):
    log = start(0)
    records = [{"step": step, "loss": 0.1 * step} for step in (10, 20, 30)]
    for record in records:
        log.append(record)
    assert read_metrics(path) == records


def test_steps_that_will_be_done_again_are_removed_and_nothing_comes_twice(path, start):
    log = start(0)
    for step in (10, 20, 30):
        log.append({"step": step, "loss": 1.0})
    resumed = start(20)
    resumed.append({"step": 30, "loss": 2.0})
    assert [(r["step"], r["loss"]) for r in read_metrics(path)] == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_a_line_cut_short_by_a_kill_is_left_out(path, start):
    path.write_text('{"step": 10}\n{"step": 20}\n{"st')
    assert [r["step"] for r in read_metrics(path)] == [10, 20]
    start(20).append({"step": 30})
    assert [r["step"] for r in read_metrics(path)] == [10, 20, 30]
