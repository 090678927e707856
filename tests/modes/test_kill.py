"""kill -9, twice, in real processes: once in the middle of an epoch, once during a save."""

import json
import os
import signal
import subprocess
import sys

import pytest
from etils import epath

from configs import digits_tcl

# Runs main.py with its arguments, and kills itself at the moment that the first argument names.
KILLED_MAIN = """
import os, runpy, signal, sys
moment = sys.argv.pop(1)
from tcl_jax.train import loop
from tcl_jax.train.checkpoint import Checkpoints

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

save = Checkpoints.save
if moment == "step":
    def finished_save(self, state, position):  # so that a whole checkpoint is there, however fast the steps are
        save(self, state, position)
        self._manager.wait_until_finished()
    Checkpoints.save = finished_save
    split_batch, done = loop.split_batch, []
    def counting(batch, mesh):
        done.append(1)
        return kill() if len(done) == 8 else split_batch(batch, mesh)
    loop.split_batch = counting
if moment == "save":
    def killed_save(self, state, position):
        save(self, state, position)  # returns while the files are being written
        if int(state.step) == 10:
            kill()
    Checkpoints.save = killed_save
sys.argv[0] = "main.py"
runpy.run_path("main.py", run_name="__main__")
"""


@pytest.mark.slow
def test_a_run_killed_twice_ends_with_the_parameters_of_an_undisturbed_one(tmp_path):
    overrides = {
        "data.data_dir": tmp_path / "data",
        "data.train_split": "train[:160]",
        "model.width": 2,
        "train.batch_size": 32,
        "train.epochs": 3,
        "train.warmup_epochs": 0,
        "probe.epochs": 1,
        "probe.batch_size": 32,
        "checkpoint.every_epochs": 1,
    }

    def start(workdir, moment):
        options = [f"--config.{name}={value}" for name, value in overrides.items()]
        ended = subprocess.run(
            [
                sys.executable,
                "-c",
                KILLED_MAIN,
                moment,
                f"--config={digits_tcl.__file__}",
                f"--workdir={workdir}",
                *options,
            ],
            cwd=os.path.dirname(os.path.dirname(digits_tcl.__file__)),
            env=os.environ | {"PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stderr

    undisturbed, disturbed = epath.Path(tmp_path / "undisturbed"), epath.Path(tmp_path / "disturbed")
    assert start(disturbed, "step")[0] == -signal.SIGKILL
    assert [path.name for path in (disturbed / "checkpoints").iterdir()] == ["5"]  # of steps 5, 10, 15
    assert start(disturbed, "save")[0] == -signal.SIGKILL
    assert not (disturbed / "results.json").exists()
    for workdir in (disturbed, undisturbed):
        code, stderr = start(workdir, "never")
        assert code == 0, stderr

    results = [json.loads((workdir / "results.json").read_text()) for workdir in (disturbed, undisturbed)]
    for figure in ("params_sha256", "final_train_loss", "linear_probe", "knn"):
        assert results[0][figure] == results[1][figure], figure
    steps = [
        [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        for workdir in (disturbed, undisturbed)
    ]
    assert steps[0] == steps[1]
