"""What kept programs save of a start: the same run of main.py with an empty folder of compiled programs, and again.

    python -m benchmarks.start_up --config=configs/digits_tcl.py --config.train.epochs=6

Each round has a folder of its own, which its first run fills and its second finds full.
"""

import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags
from ml_collections import config_flags

from benchmarks import machine

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Of a first and a second run each.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "benchmarks/results", "Folder for table and figures.")
flags.mark_flag_as_required("config")

_FIRST_STEP = re.compile(r"([\d.]+) s of them to compile and run it")


def main(argv: list[str]) -> None:
    """Measure, print the table and write it."""
    del argv
    arguments = [word for word in sys.argv[1:] if word.startswith("--config")]
    file, _, _ = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    load_before = machine.load()
    record = {
        "command": shlex.join(["python", "-m", "benchmarks.start_up", *arguments]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "epochs": _CONFIG.value.train.epochs,
        "rounds": [_round(arguments) for _ in range(_ROUNDS.value)],
        "load_before": load_before,
        "load_after": machine.load(),
    }
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"start_up_{pathlib.Path(file).stem}_{machine.device_name()}"
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / f"{stem}.md").write_text(page(record))
    print(page(record))


def _round(arguments: list[str]) -> dict[str, dict]:
    with tempfile.TemporaryDirectory() as folder:
        return {name: _run(arguments, folder, name) for name in ("empty", "full")}


def _run(arguments: list[str], folder: str, name: str) -> dict:
    """Seconds of a run and of its first step, and the hash of its parameters."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "main.py", *arguments, f"--workdir={folder}/{name}"],
        env={k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        | {"XDG_CACHE_HOME": f"{folder}/cache"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    (first_step,) = _FIRST_STEP.findall(done.stdout + done.stderr)
    results = json.loads((pathlib.Path(folder) / name / "results.json").read_text())
    return {
        "first_step_seconds": float(first_step),
        "seconds": time.monotonic() - began,
        "params_sha256": results["params_sha256"],
    }


def page(record: dict) -> str:
    """Markdown: both starts, and whether their parameters are the same."""
    computer, rounds = record["machine"], record["rounds"]
    hashes = {one["params_sha256"] for pair in rounds for one in pair.values()}
    lines = [
        "# Starts without and with kept programs",
        "",
        f"    {record['command']}",
        "",
        f"{record['date']}; {computer['device']} ({computer['processor']}), {computer['cores']} cores, jax "
        f"{computer['versions']['jax']}; load {record['load_before']} before and {record['load_after']} after. "
        f"Medians; rounds: {len(rounds)}.",
        "",
        f"| compiled programs | first step | whole command, {record['epochs']} epochs |",
        "| --- | ---: | ---: |",
    ]
    for name in ("empty", "full"):
        first, whole = (
            statistics.median(pair[name][what] for pair in rounds)
            for what in ("first_step_seconds", "seconds")
        )
        lines.append(f"| folder {name} | {first:.1f} s | {whole:.0f} s |")
    same = "the same to the last bit" if len(hashes) == 1 else f"of {len(hashes)} kinds"
    lines += ["", f"The parameters of all {2 * len(rounds)} runs are {same}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app.run(main)
