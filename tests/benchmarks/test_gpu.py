"""What is measured on a GPU in one go: the order of its points, their limits, and what is kept of those that failed."""

import json
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest
from absl import flags

from benchmarks import gpu, results, studies

pytestmark = pytest.mark.slow  # of tools and records

HERE = {
    "device": "NVIDIA H200",
    "platform": "cpu",
    "processor": "one",
    "cores": 2,
    "versions": {"jax": "1.2.3"},
}


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Makes points, given as Python programs, within some minutes; their states, and the page."""
    monkeypatch.setattr("benchmarks.machine.describe_elsewhere", lambda: HERE)
    values = flags.FlagValues()
    texts = {
        name: flags.DEFINE_string(name, str(tmp_path / name), "", flag_values=values)
        for name in ("output", "runs", "data_dir")
    }
    minutes = flags.DEFINE_float("minutes", 1, "", flag_values=values)
    small = flags.DEFINE_bool("small", False, "", flag_values=values)
    values(["gpu"])
    monkeypatch.setattr("benchmarks.results.OUTPUT", texts["output"])
    for name, holder in {"RUNS": texts["runs"], "DATA_DIR": texts["data_dir"]}.items():
        monkeypatch.setattr(f"benchmarks.folders.{name}", holder)
    monkeypatch.setattr("benchmarks.gpu._MINUTES", minutes)
    monkeypatch.setattr("benchmarks.gpu._SMALL", small)

    def make(programs, minutes=1.0, needs=(), limit=1.0, is_small=False):
        values["minutes"].value, values["small"].value = minutes, is_small
        points = {
            name: gpu.Point(shlex.join(["-c", program]), "", "{output} {runs} {data_dir}", limit, needs)
            for name, program in programs.items()
        }
        monkeypatch.setattr("benchmarks.gpu.POINTS", points)
        gpu.main([])
        record = json.loads((tmp_path / "output" / "gpu_nvidia-h200.json").read_text())
        return {name: point["state"] for name, point in record["points"].items()}

    return make


def test_each_point_is_recorded_and_one_that_fails_keeps_none_of_the_others_from_their_turn(
    measure, tmp_path
):
    code = "import sys; print(*sys.argv[1:]); sys.exit({})"
    states = measure({"first": code.format(0), "second": code.format(3), "third": code.format(0)})
    assert states == {
        "first": "done",
        "second": "failed with exit code 3, see logs/second.log",
        "third": "done",
    }
    folders = [str(tmp_path / name) for name in ("output", "runs", "data_dir")]
    assert (tmp_path / "output" / "logs" / "first.log").read_text().split() == folders
    page = (tmp_path / "output" / "gpu_nvidia-h200.md").read_text()
    assert "| second | `python -c " in page
    assert str(tmp_path) not in page.replace(results.command(), "")
    # The second is tried again, the others are not.
    states = measure(dict.fromkeys(("first", "third"), code.format(5)) | {"second": code.format(0)})
    assert states == {"first": "done", "third": "done", "second": "done"}


def test_a_record_is_there_before_the_next_point_begins(measure, tmp_path):
    path = tmp_path / "output" / "gpu_nvidia-h200.json"
    states = measure(
        {"first": "", "second": f"import json; assert json.load(open({str(path)!r}))['points']['first']"}
    )
    assert states == {"first": "done", "second": "done"}


def test_a_point_over_its_limit_ends_with_all_that_it_started(measure, tmp_path):
    started = tmp_path / "started"
    inner = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    states = measure({"first": program, "second": ""}, limit=1 / 30)
    assert states == {"first": "stopped: its time was over", "second": "done"}
    assert not pathlib.Path("/proc", started.read_text()).exists()


def test_what_has_no_time_or_no_package_is_named(measure):
    assert measure({"first": ""}, minutes=0.0) == {"first": "not begun: no time was left"}
    assert measure({"first": ""}, needs=("no_such_package",)) == {
        "first": "left out: no-such-package is not installed"
    }


def test_a_stopped_benchmark_leaves_no_command_behind(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--small", f"--output={tmp_path}"]
    root = pathlib.Path(gpu.__file__).parents[1]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (log := tmp_path / "logs" / "numbers.log").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    writers = [
        path
        for path in pathlib.Path("/proc").glob("[0-9]*/fd/1")
        if path.exists() and path.resolve() == log.resolve()
    ]
    assert not writers


def test_commands_are_those_that_the_benchmarks_understand():
    for name, point in gpu.POINTS.items():
        for words in map(shlex.split, filter(None, (point.command, point.small))):
            assert words[0] in ("-m", "main.py"), name
            assert words[0] == "main.py" or words[1] == "pytest" or words[1].startswith("benchmarks.")
            study = [word.removeprefix("--study=") for word in words if word.startswith("--study=")]
            assert set(study) <= set(studies.STUDIES)
