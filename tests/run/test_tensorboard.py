"""What TensorBoard shows of a run is what metrics.jsonl holds."""

import subprocess
import sys

import pytest
from etils import epath

from tcl_jax.losses import Diagnostics
from tcl_jax.run.metrics_log import SINKS, MetricsLog, read_metrics
from tests.run.events import shown


def record(step, loss):
    return {
        "step": step,
        "epoch": 0,
        "loss": loss,
        "steps": 10,
        "learning_rate": 0.5,
        "views_per_second": 1000.0 * loss,
        "data_seconds": 0.25,
    }


@pytest.fixture
def paths(tmp_path):
    return epath.Path(tmp_path / "metrics.jsonl"), epath.Path(tmp_path / "tensorboard")


def test_every_figure_has_its_tag(paths):
    with MetricsLog(paths[0], after_step=0, sinks=SINKS) as log:
        log.append(record(10, 4.0))
        log.append({"step": 10, "epoch": 0, "validation_knn": 0.75})
        log.append(record(20, 2.0) | {"views_per_second": None})  # where there was nothing to measure
    assert shown(paths[1]) == {
        "train/loss": [(10, 4.0), (20, 2.0)],
        "train/learning_rate": [(10, 0.5), (20, 0.5)],
        "train/views_per_second": [(10, 4000.0)],
        "train/data_seconds": [(10, 0.25), (20, 0.25)],
        "validation/knn": [(10, 0.75)],
    }


def test_every_diagnostic_of_a_loss_has_its_tag(paths):
    numbers = {name: number / 8 for number, name in enumerate(Diagnostics._fields)}
    with MetricsLog(paths[0], after_step=0, sinks=SINKS) as log:
        log.append({"step": 10} | numbers)
    assert shown(paths[1]) == {f"diagnostics/{name}": [(10, value)] for name, value in numbers.items()}


def test_a_continued_run_shows_every_step_once(paths):
    with MetricsLog(paths[0], after_step=0, sinks=SINKS) as log:
        for step in (10, 20, 30, 40):
            log.append(record(step, 1.0))
        log.append({"step": 40, "epoch": 1, "validation_knn": 0.5})
    for after_step in (30, 20):  # the second start fell back to an older checkpoint
        with MetricsLog(paths[0], after_step=after_step, sinks=SINKS) as log:
            for step in range(after_step + 10, 50, 10):
                log.append(record(step, 2.0))
    points = shown(paths[1])
    assert points["train/loss"] == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]
    assert points["validation/knn"] == []
    assert points["train/loss"] == [(r["step"], r["loss"]) for r in read_metrics(paths[0])]


def test_a_failure_closes_the_file_and_a_record_is_there_at_once(paths):
    def interrupted():
        with log:
            log.append(record(10, 1.0))
            assert shown(paths[1])["train/loss"] == [
                (10, 1.0)
            ]  # before it is closed: a kill does not lose it
            raise KeyboardInterrupt

    log = MetricsLog(paths[0], after_step=0, sinks=SINKS)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ValueError, match="closed file"):
        log.append(record(20, 1.0))
    assert [r["step"] for r in read_metrics(paths[0])] == [10]


def test_tensorflow_is_not_imported():
    code = "import sys, tcl_jax.run.tensorboard; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_number_of_any_name_is_shown_too(paths):
    with MetricsLog(paths[0], after_step=0, sinks=SINKS) as log:
        log.append({"step": 10, "epoch": 3, "temperature_of_the_day": 21.5, "validation_recall": 0.25})
    assert shown(paths[1]) == {
        "diagnostics/temperature_of_the_day": [(10, 21.5)],
        "validation/recall": [(10, 0.25)],
    }
