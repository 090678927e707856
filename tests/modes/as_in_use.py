"""A run of main.py in a process of its own, compiled as a user's is: without the XLA flags of the tests."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def run_main(config, workdir, fields):
    """What it printed; fields by their full names."""
    options = [f"--config.{field}={value}" for field, value in fields.items()]
    ended = subprocess.run(
        [sys.executable, "main.py", f"--config={config}", f"--workdir={workdir}", *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "XLA_FLAGS"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
