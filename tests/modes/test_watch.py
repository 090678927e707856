"""The watch in whole runs, one that was made to collapse and healthy ones; a classifier that is trained along."""

import shutil

import pytest

from tcl_jax.modes import train
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir
from tests.modes.as_in_use import run_main
from tests.modes.tiny import copy_of, tiny_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("watch"),
    pytest.mark.usefixtures("on_one_device", "without_pages", "without_evaluation"),
]


@pytest.fixture(scope="module")
def config(data_dir):
    """300 steps, 6 in an epoch."""
    config = tiny_config(data_dir, epochs=50)
    config.validation.images = 0
    config.checkpoint.every_epochs = 40
    config.log.every_steps = 5
    return config


COLLAPSING = {"train__learning_rate": 0.5, "loss__k1": 5000.0}


def run(config, path, capsys):
    """The records of a run, and what it printed."""
    workdir = Workdir(str(path))
    train.run(config, workdir, "digits_tcl")
    return read_metrics(workdir.metrics), capsys.readouterr().out


def test_a_run_that_was_made_to_collapse_is_spoken_of_once(config, tmp_path, capsys):
    deep = dict(model__name="tests.modes.tiny_encoder:Deep", model__width=16)
    collapsing = copy_of(config, **deep, **COLLAPSING)
    records, printed = run(collapsing, tmp_path, capsys)
    (warned,) = (record for record in records if "warning" in record)
    assert 200 <= warned["step"] <= 300
    assert warned["warning"].startswith("The projections have collapsed to one point: from step ")
    assert printed.count(warned["warning"]) == 1
    assert warned["rank"] < 1.1
    assert abs(records[-1]["loss"] - records[-1]["collapsed_loss"]) < 0.01
    (tmp_path / "results.json").unlink()
    shutil.rmtree(tmp_path / "checkpoints" / "300")
    continued, printed = run(collapsing, tmp_path, capsys)
    assert "Continuing after step 240" in printed
    assert [record.get("warning") for record in continued] == [record.get("warning") for record in records]
    assert "collapsed" not in printed


HEALTHY = {
    "tcl": {"loss__k1": 10.0},
    "queue": {"loss__name": "supcon", "loss__queue_size": 128},
    "ntxent": {"loss__name": "ntxent"},
    "small batches": {"loss__name": "supcon", "train__batch_size": 8, "train__epochs": 12},
    "cross-entropy": {"loss__name": "cross_entropy"},
}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(changed, id=name, marks=[] if name == "tcl" else pytest.mark.slow)
        for name, changed in HEALTHY.items()
    ],
)
def test_a_healthy_run_is_not_spoken_of(changed, config, tmp_path, capsys):
    records, printed = run(copy_of(config, **changed), tmp_path, capsys)
    assert records[-1]["step"] == 300
    assert not any("warning" in record for record in records)
    assert "Try" not in printed


@pytest.mark.slow
@pytest.mark.parametrize(("fields", "found"), [(COLLAPSING, 1), ({}, 0)], ids=["collapsing", "healthy"])
def test_the_demo_at_a_rate_at_which_it_collapses(data_dir, tmp_path, fields, found):
    fields = {
        "data.data_dir": data_dir,
        "train.epochs": 15,
        "train.warmup_epochs": 1,
        "log.every_steps": 5,
        "evaluation.metrics": ("knn",),
    } | {name.replace("__", "."): value for name, value in fields.items()}
    printed = run_main("configs/digits_tcl.py", tmp_path, fields)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert sum("warning" in record for record in records) == found
    assert printed.count("The projections have collapsed to one point") == found


@pytest.mark.slow
def test_a_detached_classifier_learns_beside_a_loss_without_classes(config, tmp_path, capsys):
    by_image = copy_of(config, loss__name="ntxent", train__epochs=20)
    without, _ = run(by_image, tmp_path / "without", capsys)
    along, _ = run(copy_of(by_image, loss__classifier_weight=0.0), tmp_path / "along", capsys)
    accuracy = [record["classifier_accuracy"] for record in along]
    assert max(accuracy[:2]) < 0.25 < min(accuracy[-3:])
    # tests/train/test_classifier.py has all of training.
    assert along[0]["loss"] == pytest.approx(without[0]["loss"], rel=1e-5)
    assert without[0].keys() == along[0].keys() - {"classifier_loss", "classifier_accuracy"}
