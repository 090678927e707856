"""One process at a time works on a run."""

import os
import shutil
import socket
import subprocess
import sys

import pytest

from tcl_jax.errors import UserError
from tcl_jax.modes import evaluate, train
from tcl_jax.run.workdir import Workdir
from tests.modes.tiny import assert_same_end, faults_config

# In the process of test_faults.py, with which they share what is compiled.
pytestmark = [
    pytest.mark.xdist_group("faults"),
    pytest.mark.usefixtures("on_one_device", "without_pages", "without_evaluation"),
]


@pytest.fixture(scope="module")
def config(data_dir):
    return faults_config(data_dir)


HOLDER = """
import sys
from tcl_jax.run.workdir import Workdir
with Workdir(sys.argv[1]).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_second_process_is_refused_and_named_and_a_killed_one_leaves_no_lock(
    config, undisturbed, tmp_path, monkeypatch
):
    workdir = Workdir(str(tmp_path / "run"))
    command = [sys.executable, "-c", HOLDER, str(workdir.path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        sentence = f"/run is in use by process {holder.pid} on {socket.gethostname()}: wait until it ends, or"
        with monkeypatch.context() as patch:
            patch.setattr(train, "build_experiment", None)  # it is refused before the data are loaded
            with pytest.raises(UserError, match=sentence):
                train.run(config, workdir, "digits_tcl")
        workdir.config.write_text(undisturbed.config.read_text())
        with pytest.raises(UserError, match=sentence):
            evaluate.run(config, workdir, "digits_tcl")
    finally:
        holder.kill()
        holder.communicate()
    train.run(config, workdir, "digits_tcl")
    assert_same_end(workdir, undisturbed)


@pytest.mark.parametrize("mode", [train, evaluate])
def test_a_run_holds_its_workdir_from_its_first_write_to_its_results(
    config, undisturbed, tmp_path, monkeypatch, mode
):
    workdir = Workdir(str(tmp_path / "run"))
    shutil.copytree(undisturbed.path, workdir.path)
    if mode is train:
        workdir.results.unlink()
    seen = []

    def noting_when(method):
        def wrapped(*arguments, **options):
            with pytest.raises(UserError, match=f"in use by process {os.getpid()} on"):
                workdir.refuse_if_locked()
            seen.append(method.__name__)
            return method(*arguments, **options)

        return wrapped

    for name in ("claim", "write_results"):
        monkeypatch.setattr(Workdir, name, noting_when(getattr(Workdir, name)))
    mode.run(config, workdir, "digits_tcl")
    assert seen == ["claim", "write_results"]
    workdir.refuse_if_locked()
