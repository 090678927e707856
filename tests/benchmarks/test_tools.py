"""The benchmarks as a user starts them, at their smallest: each measures, and leaves the page that it prints."""

import pathlib
import subprocess
import sys

import pytest

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
