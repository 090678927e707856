"""The benchmarks as a user starts them, at their smallest: each measures, and leaves the page that it prints."""

import json
import pathlib
import subprocess
import sys

import pytest

from benchmarks import gpu

ROOT = pathlib.Path(__file__).parents[2]
_DIGITS = ["--config=configs/digits_tcl.py", "--config.model.width=1", "--steps=1", "--seconds=0.1"]
TOOLS = {
    "augment": ["--size=16", "--batch=8", "--steps=1", "--images=16", "--seconds=0.1"],
    "input": _DIGITS,
    "loss": ["--sizes", "64", "1024", "--width=8", "--seconds=0.1"],
    "sweep": [*_DIGITS, "--members=2"],
    "train_step": _DIGITS,
}


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_leaves_the_page_that_it_prints(tool: str, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", f"benchmarks.{tool}", *TOOLS[tool], f"--output={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (page,) = tmp_path.glob(f"{tool}_*.md")
    assert done.stdout == page.read_text() + "\n"


@pytest.mark.slow
def test_all_of_a_gpu_is_tried_at_its_smallest_and_made_once(tmp_path: pathlib.Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--small",
        f"--output={tmp_path}",
        f"--runs={tmp_path}/runs",
    ]
    first = subprocess.run([*command, "--minutes=0.01"], cwd=ROOT, capture_output=True, text=True, check=True)
    (path,) = tmp_path.glob("gpu_small_*.json")
    assert "not begun: no time was left" in first.stdout
    subprocess.run(command, cwd=ROOT, check=True)
    points = json.loads(path.read_text())["points"]
    assert {name: point["state"] for name, point in points.items()} == dict.fromkeys(points, gpu.DONE)
    assert list(points) == [name for name, point in gpu.POINTS.items() if point.small]
    for kind in ("loss", "train_step", "accuracy_smallest"):
        assert list(tmp_path.glob(f"{kind}_*.json")), kind
    assert list(tmp_path.glob("profiled_run/profile/**/*.xplane.pb"))
    logs = {log: log.stat().st_mtime_ns for log in tmp_path.glob("logs/*")}
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert again.stdout == path.with_suffix(".md").read_text() + "\n"
    assert logs == {log: log.stat().st_mtime_ns for log in tmp_path.glob("logs/*")}
