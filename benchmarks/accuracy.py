"""Train and evaluate the runs of a study that its record does not have, and write its table and pictures.

    python -m benchmarks.accuracy --study=cifar10_reduced --data_dir=/data/tfds
    python -m benchmarks.accuracy --study=k1_k2_fashion_mnist --data_dir=/data/tfds

Starts one command of main.py for each run, and adds the run to the record as soon as it is finished. Repeat the command
to go on after an interruption, on another day or with the record on another machine: finished runs are not trained
again, and one that has begun continues from its folder in --runs. Several of these commands may work side by side, as
one on each core (by taskset): each takes runs that no other has.
"""

import contextlib
import pathlib
import shlex
import subprocess
import sys
import time

import filelock
from absl import app, flags

from benchmarks import folders, machine, results
from benchmarks.accuracy_page import page, pictures
from benchmarks.accuracy_record import added, decided, find, outlook, read_record, record_path
from benchmarks.results import Record
from benchmarks.studies import STUDIES, Study, StudyRun
from tcl_jax.errors import UserError
from tcl_jax.modes.compare import read_run
from tcl_jax.report.comparison import ComparedRun
from tcl_jax.run.workdir import Workdir

STUDY = flags.DEFINE_enum("study", None, list(STUDIES), "Which runs; benchmarks/studies.py has them.")

_RUN_FAILED = 1  # exit code of main.py: this run cannot go on, others may


def main(argv: list[str]) -> None:
    """Make the runs that the record does not have, add each as soon as it is finished, and print the page."""
    del argv
    name, folder = STUDY.value, pathlib.Path(results.OUTPUT.value)
    results.check_folder(folder)
    here = machine.describe_elsewhere()
    kind = machine.in_file_name(here["device"])
    study, path = decided(STUDIES[name], folder, kind), record_path(name, folder, kind)
    failed = []
    for run in study.runs():
        workdir = workdir_of(name, run)
        with contextlib.ExitStack() as held:
            if not _is_free(workdir, held):
                print(f"{run.name}: another command makes it.", flush=True)
                continue
            if find(record := read_record(path, name, study), run):
                continue
            print(outlook(study, record), flush=True)
            command = study.command(run.row, run.point)
            print(f"{run.name}: {shlex.join(command)}", flush=True)
            if _trained(command, workdir):
                save(_finished(workdir, here), run, name, study, path)
            else:
                failed.append(run.name)
    if path.exists():
        print(path.with_suffix(".md").read_text())
    if failed:
        raise SystemExit(
            f"error: These runs failed: {'; '.join(failed)}. Repeat the command to try them again."
        )


def workdir_of(name: str, run: StudyRun) -> pathlib.Path:
    """The folder of a run of a study."""
    return pathlib.Path(folders.RUNS.value) / name / run.row.folder / run.point.name


def _is_free(workdir: pathlib.Path, held: contextlib.ExitStack) -> bool:
    """Whether no other of these commands makes this run; if so, none does until `held` is closed."""
    workdir.parent.mkdir(parents=True, exist_ok=True)
    try:
        held.enter_context(filelock.FileLock(f"{workdir}.lock", timeout=0))
    except filelock.Timeout:
        return False
    return True


def save(content: Record, run: StudyRun, name: str, study: Study, path: pathlib.Path) -> None:
    """Write what is known of a finished run into the record, its page and its pictures."""
    with filelock.FileLock(pathlib.Path(folders.RUNS.value) / name / "record.lock"):
        record = added(read_record(path, name, study), study, run, content)
        results.write_files(record, page, path.parent, path.stem, pictures)


def _trained(command: list[str], workdir: pathlib.Path) -> bool:
    """Whether a run is trained and evaluated, by its command as it is typed, with its own progress.

    Raises:
      SystemExit: it was stopped, or its command is wrong, as those of the others will be.
    """
    where = [f"--workdir={workdir}", f"--config.data.data_dir={folders.DATA_DIR.value}"]
    code = subprocess.run([sys.executable, *command[1:], *where], check=False).returncode
    if code not in (0, _RUN_FAILED):
        print("Stopped there: repeat the command to go on.", file=sys.stderr)
        sys.exit(code)
    return code == 0


def _finished(workdir: pathlib.Path, here: Record) -> Record:
    """What a run left, with all but where the data are on this machine, and the machine."""
    try:
        run = read_run(Workdir(str(workdir)))
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
    assert run is not None  # its command evaluated it
    return {
        "name": workdir.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {key: value for key, value in here.items() if key != "versions"},
        "load": machine.load(),
        "config": {field: value for field, value in run.config.items() if field != "data.data_dir"},
        **run.results,
        "curve": _curve(run),
    }


def _curve(run: ComparedRun) -> list[Record]:
    """Loss and held-out accuracy at the end of each epoch."""
    kept = ("epoch", "step", "loss", "validation_knn")
    at_ends = [record for record in run.records if record.get("validation_knn") is not None]
    return [{key: record[key] for key in kept if key in record} for record in at_ends]


if __name__ == "__main__":
    for module in (folders, results):
        flags.adopt_module_key_flags(module)  # for --help
    flags.mark_flag_as_required("study")
    app.run(main)
