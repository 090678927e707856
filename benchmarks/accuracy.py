"""Train and evaluate all runs of a study, and write their table, curves and figures.

    python -m benchmarks.accuracy --study=cifar10_reduced --data_dir=/data/tfds
    python -m benchmarks.accuracy --study=k1_k2_fashion_mnist --data_dir=/data/tfds

Starts one command of main.py for each row, which anybody can start alone; the page has them. Repeat the command to go
on after an interruption. Runs that are complete are not trained again.
"""

import json
import pathlib
import shlex
import subprocess
import sys
import time

from absl import app, flags

from benchmarks import machine
from benchmarks.accuracy_page import Result, page, pictures
from benchmarks.studies import STUDIES, Study
from tcl_jax.errors import UserError
from tcl_jax.modes.compare import read_run
from tcl_jax.report.comparison import Run
from tcl_jax.run.workdir import Workdir

_STUDY = flags.DEFINE_enum("study", None, list(STUDIES), "Which runs; benchmarks/studies.py has them.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of prepared TFDS data, as data.data_dir of a config.")
_RUNS = flags.DEFINE_string("runs", "runs", "Folder in which the runs have theirs.")
_OUTPUT = flags.DEFINE_string("output", "benchmarks/results", "Folder for table and figures.")
flags.mark_flag_as_required("study")


def main(argv: list[str]) -> None:
    """Make the runs that are not there yet, print the table and write it."""
    del argv
    name, study = _STUDY.value, STUDIES[_STUDY.value]
    results = []
    for row in study.rows:
        command = study.command(row)
        print(f"{row.label}: {shlex.join(command)}", flush=True)
        workdir = pathlib.Path(_RUNS.value) / name / row.folder
        _run([*command, f"--workdir={workdir}", f"--config.data.data_dir={_DATA_DIR.value}"])
        results.append(Result(row, command, _members(workdir, study)))
    record = _record(name, study, results)
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"accuracy_{name}_{machine.device_name()}"
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")
    drawn = {f"{stem}_{what}.png": png for what, png in pictures(study, results).items()}
    for file, png in drawn.items():
        (folder / file).write_bytes(png)
    text = page(record, study, results, list(drawn))
    (folder / f"{stem}.md").write_text(text)
    print(text)


def _run(command: list[str]) -> None:
    """As it is typed, with its own progress; the study ends where it fails."""
    code = subprocess.run([sys.executable, *command[1:]], check=False).returncode
    if code:
        print("Stopped there: repeat the command to go on.", file=sys.stderr)
        sys.exit(code)


def _members(workdir: pathlib.Path, study: Study) -> list[Run]:
    """The runs of a sweep, in the order of their values."""
    folders = [path.parent for path in workdir.glob("*/results.json")]
    try:
        found = [read_run(Workdir(str(folder))) for folder in sorted(folders)]
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
    runs = [run._replace(name=pathlib.Path(run.name).name) for run in found if run is not None]
    return sorted(runs, key=lambda run: [run.config[field] for field in (*study.swept(), "seed")])


def _record(name: str, study: Study, results: list[Result]) -> dict:
    return {
        "study": name,
        "command": f"python -m benchmarks.accuracy --study={name}",
        "reduced": study.reduced,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "rows": [
            {
                "label": result.row.label,
                "command": shlex.join(result.command),
                "runs": [
                    {"name": run.name, "config": _config(run), **run.results, "curve": _curve(run)}
                    for run in result.runs
                ],
            }
            for result in results
        ],
    }


def _config(run: Run) -> dict:
    """All but where the data lie on this machine."""
    return {field: value for field, value in run.config.items() if field != "data.data_dir"}


def _curve(run: Run) -> list[dict]:
    """Loss and held-out accuracy at the end of each epoch."""
    kept = ("epoch", "step", "loss", "validation_knn")
    at_ends = [record for record in run.records if record.get("validation_knn") is not None]
    return [{key: record[key] for key in kept if key in record} for record in at_ends]


if __name__ == "__main__":
    app.run(main)
