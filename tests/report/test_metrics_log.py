"""The curve on disk survives interruptions."""

from etils import epath

from tcl_jax.report import MetricsLog
from tcl_jax.report.metrics_log import read_metrics


def test_records_come_back_in_order(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    log = MetricsLog(path, after_step=0)
    records = [{"step": step, "loss": 0.1 * step} for step in (10, 20, 30)]
    for record in records:
        log.append(record)
    assert read_metrics(path) == records


def test_steps_that_will_be_done_again_are_removed_and_nothing_comes_twice(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    log = MetricsLog(path, after_step=0)
    for step in (10, 20, 30):
        log.append({"step": step, "loss": 1.0})
    resumed = MetricsLog(path, after_step=20)
    resumed.append({"step": 30, "loss": 2.0})
    assert [(r["step"], r["loss"]) for r in read_metrics(path)] == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    path.write_text('{"step": 10}\n{"step": 20}\n{"st')
    assert [r["step"] for r in read_metrics(path)] == [10, 20]
    MetricsLog(path, after_step=20).append({"step": 30})
    assert [r["step"] for r in read_metrics(path)] == [10, 20, 30]
