"""SIGTERM, and kill -9 twice, in real processes: in the middle of epochs, and when a checkpoint is nearly written."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from etils import epath

from configs import digits_tcl
from tcl_jax.run.metrics_log import read_metrics
from tests.run.events import shown

# Runs main.py with its arguments, and signals itself at the moment that the first argument names.
SIGNALLED_MAIN = """
import os, runpy, signal, sys
moment = sys.argv.pop(1)
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.train.curve import Curve

def signal_after_step(last, number):
    add = Curve.add
    def adding(self, step, *arguments):
        add(self, step, *arguments)
        if step == last:
            os.kill(os.getpid(), number)
    Curve.add = adding

if moment == "terminated in the first epoch":
    signal_after_step(3, signal.SIGTERM)
if moment == "killed in the save of step 10":
    rename = os.rename
    def renaming(source, target, **options):  # Orbax' last act: a checkpoint under its own name is whole
        if str(target).endswith("checkpoints/10"):
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(source, target, **options)
    os.rename = renaming
if moment == "killed in the third epoch":
    save = Checkpoints.save
    def finished_save(self, *arguments):  # so that the checkpoint of step 10 is there, however fast the steps are
        save(self, *arguments)
        self._manager.wait_until_finished()
    Checkpoints.save = finished_save
    signal_after_step(12, signal.SIGKILL)
sys.argv[0] = "main.py"
runpy.run_path("main.py", run_name="__main__")
"""

OVERRIDES = {
    "data.train_split": "train[:200]",
    "model.width": 2,
    "train.batch_size": 32,
    "train.epochs": 3,
    "train.warmup_epochs": 0,
    "validation.images": 40,
    "probe.epochs": 1,
    "probe.batch_size": 32,
    "checkpoint.every_epochs": 1,
    "log.every_steps": 2,
}


def start(workdir, data_dir, moment):
    options = [f"--config.{name}={value}" for name, value in OVERRIDES.items()]
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            SIGNALLED_MAIN,
            moment,
            f"--config={digits_tcl.__file__}",
            f"--workdir={workdir}",
            f"--config.data.data_dir={data_dir}",
            *options,
        ],
        cwd=os.path.dirname(os.path.dirname(digits_tcl.__file__)),
        env=os.environ | {"PYTHONPATH": "."},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def checkpoints_in(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


def accuracies_of(workdir):
    return [record for record in read_metrics(workdir / "metrics.jsonl") if "validation_knn" in record]


def losses_until(workdir, steps):
    """The sum of the losses until each of `steps`: the same for any grouping of the steps into records."""
    records = [record for record in read_metrics(workdir / "metrics.jsonl") if "loss" in record]
    # Every step is part of one record: those of a record are the ones since the record before.
    assert [r["steps"] for r in records] == np.diff([0, *(r["step"] for r in records)]).tolist()
    sums = np.cumsum([record["loss"] * record["steps"] for record in records])
    return [sums[[record["step"] for record in records].index(step)] for step in steps]


@pytest.mark.slow
def test_a_run_stopped_three_times_ends_as_an_undisturbed_one(tmp_path):
    undisturbed, disturbed = epath.Path(tmp_path / "undisturbed"), epath.Path(tmp_path / "disturbed")
    data_dir = tmp_path / "data"

    def run(moment):
        process = start(disturbed, data_dir, moment)
        _, stderr = process.communicate()
        return process.returncode, stderr

    code, stderr = run("terminated in the first epoch")
    assert code == 143, stderr
    assert stderr.splitlines()[-1] == (
        "Stopped by SIGTERM after step 3, which is saved: repeat the command to continue."
    )
    assert checkpoints_in(disturbed) == [3]
    assert accuracies_of(disturbed) == []

    beside = start(undisturbed, data_dir, "never")  # meanwhile
    assert run("killed in the save of step 10")[0] == -signal.SIGKILL
    assert checkpoints_in(disturbed) == [3, 5]
    recorded = [record["step"] for record in accuracies_of(disturbed)]
    assert recorded[:2] == [5, 10]  # on record before the checkpoint is whole

    assert run("killed in the third epoch")[0] == -signal.SIGKILL
    assert set(checkpoints_in(disturbed)) >= {5, 10}
    assert not (disturbed / "results.json").exists()

    code, stderr = run("never")
    assert code == 0, stderr
    assert beside.wait() == 0, beside.communicate()

    results = [json.loads((workdir / "results.json").read_text()) for workdir in (disturbed, undisturbed)]
    for key in ("params_sha256", "metrics", "step", "best"):
        assert results[0][key] == results[1][key], key
    assert results[0]["final_train_loss"] == pytest.approx(results[1]["final_train_loss"], rel=1e-12)
    assert accuracies_of(disturbed) == accuracies_of(undisturbed)
    assert len(accuracies_of(undisturbed)) == 3
    steps = [2, 4, 5, 7, 9, 10, 12, 14, 15]
    assert losses_until(disturbed, steps) == pytest.approx(losses_until(undisturbed, steps), rel=1e-12)
    for workdir in (disturbed, undisturbed):  # TensorBoard shows the same
        records, points = read_metrics(workdir / "metrics.jsonl"), shown(workdir / "tensorboard")
        assert [step for step, _ in points["train/loss"]] == [r["step"] for r in records if "loss" in r]
        assert [step for step, _ in points["validation/knn"]] == [5, 10, 15]
    names = [sorted(path.name for path in (w / "checkpoints").iterdir()) for w in (disturbed, undisturbed)]
    assert names[0] == names[1]
