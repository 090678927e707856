"""The watch in whole runs: one that was made to collapse, and healthy ones; and the classifier that is trained along."""

import numpy as np
import pytest

from tcl_jax.errors import UserError
from tcl_jax.modes import train
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir
from tests.modes.tiny import copy_of, tiny_config

pytestmark = [
    pytest.mark.xdist_group("watch"),
    pytest.mark.usefixtures("on_one_device", "without_pages", "without_evaluation"),
]


@pytest.fixture(scope="module")
def config(data_dir):
    """250 steps, 5 in an epoch."""
    config = tiny_config(data_dir, epochs=50)
    config.validation.images = 0
    config.checkpoint.every_epochs = 50
    config.log.every_steps = 5
    return config


def run(config, path, capsys):
    """The records of a run, and what it printed."""
    workdir = Workdir(str(path))
    train.run(config, workdir, "digits_tcl")
    return read_metrics(workdir.metrics), capsys.readouterr().out


COLLAPSING = {"train__learning_rate": 0.5, "loss__k1": 5000.0}


def test_a_run_that_was_made_to_collapse_is_spoken_of_once(config, tmp_path, capsys):
    records, printed = run(copy_of(config, **COLLAPSING), tmp_path, capsys)
    (warned,) = (record for record in records if "warning" in record)
    assert 200 <= warned["step"] <= 250
    assert warned["warning"].startswith("The projections have collapsed to one point: from step ")
    assert printed.count(warned["warning"]) == 1
    assert warned["rank"] < 1.5
    assert abs(records[-1]["loss"] - records[-1]["collapsed_loss"]) < 0.01


HEALTHY = {
    "tcl": {"loss__k1": 10.0},
    "supcon": {"loss__name": "supcon"},
    "ntxent": {"loss__name": "ntxent"},
    "queue": {"loss__name": "supcon", "loss__queue_size": 128},
    "small batches": {"loss__name": "supcon", "train__batch_size": 8, "train__epochs": 10},
    "cross-entropy": {"loss__name": "cross_entropy"},
}


@pytest.mark.parametrize("changed", HEALTHY.values(), ids=HEALTHY)
def test_a_healthy_run_is_not_spoken_of(changed, config, tmp_path, capsys):
    records, printed = run(copy_of(config, **changed), tmp_path, capsys)
    assert records[-1]["step"] == 250
    assert not any("warning" in record for record in records)
    assert "Try" not in printed
