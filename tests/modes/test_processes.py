"""One run in two processes with four devices each, against one process with one device: real `jax.distributed`."""

import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest

from configs import digits_tcl
from tcl_jax.run.metrics_log import read_metrics

# Runs main.py in 64-bit, and sends itself SIGTERM after the step that the first argument names.
MAIN_IN_64_BIT = """
import functools, os, runpy, signal, sys
last = int(sys.argv.pop(1))
import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
from tcl_jax.experiment import parts, program
from tcl_jax.train.curve import Curve

parts.make_encoder = functools.partial(parts.make_encoder, param_dtype=jnp.float64)
program.with_head = functools.partial(program.with_head, param_dtype=jnp.float64)
add = Curve.add
def adding(self, step, *arguments):
    add(self, step, *arguments)
    if step == last:
        os.kill(os.getpid(), signal.SIGTERM)
Curve.add = adding
sys.argv[0] = "main.py"
runpy.run_path("main.py", run_name="__main__")
"""

STEPS = 20
OVERRIDES = {
    "data.train_split": "train[:356]",  # 4 steps in an epoch
    "model.width": 2,  # in 64-bit convolutions on a CPU are slow
    "train.epochs": 5,
    "train.warmup_epochs": 1,
    "probe.epochs": 1,
    "checkpoint.every_epochs": 1,
    "log.every_steps": 1,
}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Where all runs keep their data and their compiled programs."""
    return tmp_path_factory.mktemp("shared")


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def run(shared, workdir, *, processes, terminated_after=0):
    """Exit codes and what was printed, of all processes; the last of them is the one that is terminated."""
    port, started = free_port(), []
    for number in range(processes):
        flags = [f"--config.{name}={value}" for name, value in OVERRIDES.items()]
        if processes > 1:
            flags += [
                f"--coordinator=localhost:{port}",
                f"--num_processes={processes}",
                f"--process_id={number}",
            ]
        step = terminated_after if number == processes - 1 else 0
        command = [sys.executable, "-c", MAIN_IN_64_BIT, str(step)]
        command += [f"--config={digits_tcl.__file__}"]
        command += [f"--workdir={workdir}", f"--config.data.data_dir={shared / 'data'}", *flags]
        started.append(
            subprocess.Popen(
                command,
                cwd=os.path.dirname(os.path.dirname(digits_tcl.__file__)),
                env=os.environ
                | {
                    "PYTHONPATH": ".",
                    "XDG_CACHE_HOME": str(shared),
                    "XLA_FLAGS": f"--xla_force_host_platform_device_count={4 if processes > 1 else 1} "
                    "--xla_backend_optimization_level=0",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    printed = [process.communicate() for process in started]
    return [process.returncode for process in started], printed


def losses_of(workdir):
    records = [record for record in read_metrics(workdir / "metrics.jsonl") if "loss" in record]
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    return np.array([record["loss"] for record in records])


def test_two_processes_train_as_one_and_continue_each_others_runs(shared, tmp_path):
    alone, many = tmp_path / "alone", tmp_path / "many"
    codes, printed = run(shared, alone, processes=1)
    assert codes == [0], printed

    codes, printed = run(shared, many, processes=2, terminated_after=6)
    assert codes == [143, 143], printed
    # One was terminated, and both stopped after the same step.
    sentence = r"Stopped by SIGTERM after step (\d+), which is saved: repeat the command to continue\."
    stopped = [re.search(sentence, stderr) for _, stderr in printed]
    assert stopped[0][1] == stopped[1][1], printed
    first = int(stopped[0][1])
    assert 6 <= first <= 10
    spoken = [line for line in printed[1][0].splitlines() if "[Gloo]" not in line]  # XLA's own, of CPUs alone
    assert spoken == []  # the first process speaks for all

    codes, printed = run(shared, many, processes=1, terminated_after=first + 4)
    assert codes == [143], printed
    assert f"Continuing after step {first}," in printed[0][0]

    codes, printed = run(shared, many, processes=2)
    assert codes == [0, 0], printed
    assert "Continuing after step" in printed[0][0]

    np.testing.assert_allclose(losses_of(many), losses_of(alone), rtol=1e-10)
    ours, theirs = (json.loads((workdir / "results.json").read_text()) for workdir in (many, alone))
    assert ours["devices"]["count"] == 8
    ours_found, theirs_found = ours["metrics"], theirs["metrics"]
    assert ours_found["knn"] == theirs_found["knn"]
    assert ours_found["linear_probe"] == pytest.approx(theirs_found["linear_probe"], abs=0.02)
    assert ours["best"]["step"] == theirs["best"]["step"]


def test_a_mistake_in_one_process_ends_both_with_its_sentence(shared, tmp_path):
    workdir = tmp_path / "run"
    workdir.write_text("a file where a folder should be")
    codes, printed = run(shared, workdir, processes=2)
    assert codes == [2, 2], printed
    for number, (_, stderr) in enumerate(printed):
        assert f"error in process {number}: " in stderr
        assert str(workdir) in stderr
        assert "Traceback" not in stderr
