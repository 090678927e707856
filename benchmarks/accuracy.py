"""Train and evaluate the runs of a study that its record does not have, and write its table and pictures.

    python -m benchmarks.accuracy --study=cifar10_reduced --data_dir=/data/tfds
    python -m benchmarks.accuracy --study=k1_k2_fashion_mnist --data_dir=/data/tfds

Starts one command of main.py for each run, and adds the run to the record as soon as it is finished. Repeat the command
to go on after an interruption, on another day or with the record on another machine: finished runs are not trained
again, and one that has begun continues from its folder in --runs. Several of these commands may work side by side, as
one on each core (by taskset): each takes runs that no other has.
"""

import contextlib
import functools
import json
import math
import pathlib
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import filelock
from absl import app, flags

from benchmarks import folders, machine, results
from benchmarks.results import Record
from benchmarks.studies import STUDIES, Row, Study, StudyRun
from tcl_jax.config import defaults
from tcl_jax.errors import UserError
from tcl_jax.fields import brief, flat_items, metric_title
from tcl_jax.modes.compare import read_run
from tcl_jax.report.comparison import (
    ComparedRun,
    Group,
    Spread,
    curve_of,
    metric_names,
    metric_spread,
    spread,
)
from tcl_jax.report.heat_map import draw_heat_map, heat_maps
from tcl_jax.report.plots import Series, curves
from tcl_jax.report.results import duration
from tcl_jax.run.workdir import Workdir

STUDY = flags.DEFINE_enum("study", None, list(STUDIES), "Which runs; benchmarks/studies.py has them.")

_DATA_TITLES = {"cifar10": "CIFAR-10 (JPEG copy)", "fashion_mnist": "FashionMNIST"}
_HELD_OUT = "kNN of held-out images"
_TOP_1 = ("linear_probe", "logistic_regression", "knn", "classifier")

CORRUPTED = "corrupted_knn"
"""Of a run in the record: accuracies by corruption, where benchmarks/robustness.py has measured them."""

_RUN_FAILED = 1  # exit code of main.py: this run cannot go on, others may

# Where data are and what is written on the way change no result.
_NO_RESULT = ("data.data_dir", "data.evaluate_on.data_dir", "data.streaming", "log.", "checkpoint.")


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
            if not _is_free(workdir, held) or find(record := read_record(path, name, study), run):
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
    """Whether no other of these commands makes this run, which then waits until `held` is closed."""
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


def record_path(name: str, folder: pathlib.Path, kind: str) -> pathlib.Path:
    """Where the record of a study is on machines of a kind, which may differ in their rounding."""
    return folder / f"accuracy_{name}_{kind}.json"


def decided(study: Study, folder: pathlib.Path, kind: str) -> Study:
    """The study with what its pilots decide.

    A row takes the fields that a pilot sweeps from that run of a row of the pilot which has the highest kNN accuracy of
    held-out images at its end.

    Raises:
      SystemExit: the record of a pilot is not finished.
    """

    def best(name: str, label: str) -> dict[str, object]:
        pilot, path = decided(STUDIES[name], folder, kind), record_path(name, folder, kind)
        record = read_record(path, name, pilot)
        if left := missing(pilot, record):
            raise SystemExit(
                f"error: {path} lacks {len(left)} runs, which decide the settings of this study: "
                f"make them first, by --study={name}."
            )
        runs = next(row["runs"] for row in record["rows"] if row["label"] == label)
        config = max(runs, key=lambda run: run["curve"][-1]["validation_knn"])["config"]
        return {field: config[field] for field in pilot.swept()}

    def of(row: Row) -> Row:
        return functools.reduce(
            lambda row, pilot: row._replace(settings=row.settings | best(*pilot)), row.pilots, row
        )

    return study._replace(rows=[of(row) for row in study.rows])


def read_record(path: pathlib.Path, name: str, study: Study) -> Record:
    """The record in a file, or one without any run.

    Raises:
      SystemExit: the file is damaged, or has runs that are not of this study as it is now.
    """
    try:
        record = json.loads(path.read_text()) if path.exists() else {"rows": []}
        known = {(row["label"], run["name"]): run for row in record["rows"] for run in row["runs"]}
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(
            f"error: {path} is damaged: delete it or restore it, and repeat the command."
        ) from error
    for run in study.runs():
        other = _differences(run, known.pop((run.row.label, run.point.name), None))
        if other:
            raise SystemExit(
                f"error: {path} has {run.name} with another config than the study now has: {', '.join(other)}. "
                "Move the record away to begin a new one."
            )
    if known:
        raise SystemExit(
            f"error: {path} has {', '.join(next(iter(known)))}, which the study does not have. "
            "Move the record away to begin a new one."
        )
    runs = {row["label"]: row["runs"] for row in record["rows"]}
    return {
        "study": name,
        "command": f"python -m benchmarks.accuracy --study={name}",
        "reduced": study.reduced,
        "about": study.about,
        "swept": study.swept(),
        "rows": [
            {"label": row.label, "command": shlex.join(study.command(row)), "runs": runs.get(row.label, [])}
            for row in study.rows
        ],
    }


def _differences(run: StudyRun, recorded: Record | None) -> list[str]:
    """Fields in which a recorded run is not that of the study; one that it does not have had its default."""
    if recorded is None:
        return []
    # By way of JSON, which makes a list of a tuple.
    known, now = (
        json.loads(json.dumps(dict(flat_items(config)))) for config in (defaults(), run.point.config)
    )
    then = known | recorded["config"]
    return [
        f"{field} ({then.get(field, 'absent')!r} there, {now.get(field, 'absent')!r} now)"
        for field in sorted(then.keys() | now.keys())
        if then.get(field) != now.get(field) and not field.startswith(_NO_RESULT)
    ]


def missing(study: Study, record: Record) -> list[StudyRun]:
    """The runs that a record does not have, in the order in which they are made."""
    return [run for run in study.runs() if find(record, run) is None]


def find(record: Record, run: StudyRun) -> Record | None:
    """What a record has of a run."""
    runs = [one for row in record["rows"] if row["label"] == run.row.label for one in row["runs"]]
    return next((one for one in runs if one["name"] == run.point.name), None)


def added(record: Record, study: Study, run: StudyRun, finished: Record) -> Record:
    """The record with a finished run in its place, instead of what it has of it."""
    places = [point.name for point in study.points(run.row)]
    for row in record["rows"]:
        if row["label"] == run.row.label:
            runs = {one["name"]: one for one in [*row["runs"], finished]}
            row["runs"] = sorted(runs.values(), key=lambda one: places.index(one["name"]))
    return record | {"missing": [one.name for one in missing(study, record)]}


def outlook(study: Study, record: Record) -> str:
    """What is missing, and how long its training will take by the times of the finished runs."""
    left = missing(study, record)
    of_row = {row["label"]: [run["train_seconds"] for run in row["runs"]] for row in record["rows"]}
    all_of_them = [seconds for row in of_row.values() for seconds in row]
    count = f"{len(left)} of {len(study.runs())} runs are missing"
    if not left:
        return f"All {len(study.runs())} runs are there."
    if not all_of_them:
        return f"{count}; how long they take is known when one is finished."
    expected = sum(statistics.fmean(of_row[run.row.label] or all_of_them) for run in left)
    return f"{count}: about {duration(expected)} of training, as long as the finished ones took."


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


def page(record: Record) -> str:
    """Markdown: a table with mean and deviation over seeds, what is missing, each row's command, each run's machine."""
    groups = [group for row in record["rows"] for group in groups_of(row, record["swept"])]
    config = groups[0].runs[0].config
    metrics = metric_names(groups)
    top_1 = [name for name in metrics if name in _TOP_1]
    others = [name for name in metrics if name not in _TOP_1]
    data = _DATA_TITLES.get(config["data.name"], config["data.name"])
    return results.text_of(
        f"# {data}{', reduced protocol' if record['reduced'] else ''}: {record['study']}",
        f"    {record['command']}",
        _protocol(
            config, rates={run.config["train.learning_rate"] for group in groups for run in group.runs}
        ),
        record["about"],
        _table(
            groups,
            {name: f"{metric_title(name)}, top-1, %" for name in top_1},
            held_out=bool(record["swept"]),
        ),
        "" if record["swept"] else _between_rows(groups, top_1),
        _table(groups, {name: f"{metric_title(name)}, %" for name in others}) if others else "",
        _corrupted(record, groups),
        f"**Not finished.** Missing: {'; '.join(record['missing'])}." if record["missing"] else "",
        "Each row alone, with `--workdir` and `--config.data.data_dir` as you like:",
        "\n".join(f"    {row['command']}  # {row['label']}" for row in record["rows"]),
        "Where and when each run was finished, and how long it was trained:",
        _machines(record),
    )


def pictures(record: Record) -> dict[str, bytes]:
    """PNGs by name: heat maps where several settings are swept, of one the accuracies over it, else all curves."""
    rows, swept = [groups_of(row, record["swept"]) for row in record["rows"]], record["swept"]
    if len(swept) > 1:
        maps = [one for groups in rows for one in heat_maps(groups)]
        return {one.name.replace("-", "_"): draw_heat_map(one).png for one in maps}
    if swept:
        labels = [row["label"] for row in record["rows"]]
        lines = [_line(label, *_over(swept[0], groups)) for label, groups in zip(labels, rows, strict=True)]
    else:
        lines = [_line(group.label, *_held_out(group)) for groups in rows for group in groups]
    png = curves(lines, name="knn", x_label=swept[0] if swept else "epoch", y_label=f"{_HELD_OUT}, top-1").png
    return {"settings" if swept else "curves": png}


def groups_of(row: Record, swept: Sequence[str]) -> list[Group]:
    """The runs of a row that differ in their seed alone, under the row's label and the settings that are swept."""
    groups: dict[tuple[Any, ...], Group] = {}
    for run in row["runs"]:
        settings = {field: run["config"][field] for field in swept}
        label = ", ".join([row["label"], *(f"{field}={brief(value)}" for field, value in settings.items())])
        group = groups.setdefault(tuple(settings.values()), Group(label, settings, []))
        group.runs.append(ComparedRun(run["name"], run["config"], run, run["curve"]))
    return list(groups.values())


def _held_out(group: Group) -> tuple[list[float], list[Spread]]:
    """kNN accuracy of held-out images against epochs."""
    return curve_of(group, "validation_knn")


def _at_end(group: Group) -> Spread | None:
    """kNN accuracy of held-out images at the end, by which settings are chosen; not by test images."""
    _, found = _held_out(group)
    return found[-1] if found else None


def _over(field: str, groups: list[Group]) -> tuple[list[Any], list[Spread]]:
    """kNN accuracy of held-out images at the end, against a setting; runs without such images are left out."""
    found = [(group.settings[field], end) for group in groups if (end := _at_end(group)) is not None]
    return [value for value, _ in found], [end for _, end in found]


def _line(label: str, x: list[Any], found: Sequence[Spread]) -> Series:
    """The means, in a band of a standard deviation to each side."""
    bounds = [(one.mean - (one.std or 0.0), one.mean + (one.std or 0.0)) for one in found]
    return Series(
        label, x, [one.mean for one in found], [low for low, _ in bounds], [high for _, high in bounds]
    )


def _protocol(config: Any, rates: set[float]) -> str:
    return (
        f"{config['model.name']}, width {config['model.width']}; data.train_split {config['data.train_split']}, "
        f"of which {config['validation.images']} images are held out; {config['train.epochs']} epochs, "
        f"{config['train.batch_size']} images per step, learning rate {', '.join(map(str, sorted(rates)))}, "
        f"views {', '.join(config['augment.views'])}."
    )


def _table(groups: list[Group], metrics: dict[str, str], *, held_out: bool = False) -> str:
    """The metrics of this name, under these heads."""
    heads = [f"{_HELD_OUT}, %"] * held_out + list(metrics.values())
    rows = []
    for group in groups:
        found = [_at_end(group)] * held_out
        found += [metric_spread(group, name) for name in metrics]
        seeds = ", ".join(str(run.config["seed"]) for run in group.runs)
        rows.append([group.label, seeds, *map(_percent, found)])
    return results.table(["runs", "seeds", *heads], rows, texts=2)


def _between_rows(groups: list[Group], metrics: list[str]) -> str:
    """The first row minus each other one, in points; nothing of a row alone."""
    first, *others = groups
    if not others:
        return ""
    rows = [
        [
            group.label,
            *(_difference(metric_spread(first, name), metric_spread(group, name)) for name in metrics),
        ]
        for group in others
    ]
    heads = [f"{first.label} minus", *(metric_title(name) for name in metrics)]
    about = "Differences in points, ± their standard errors over seeds:"
    return f"{about}\n\n{results.table(heads, rows)}"


def _difference(a: Spread | None, b: Spread | None) -> str:
    """a - b, and the root of the sum of the squares of both standard errors where both have several runs."""
    if a is None or b is None:
        return "-"
    mean = f"{100 * (a.mean - b.mean):+.2f}"
    if a.std is None or b.std is None:
        return mean
    return f"{mean} ± {100 * math.hypot(a.std / math.sqrt(a.runs), b.std / math.sqrt(b.runs)):.2f}"


def _corrupted(record: Record, groups: Sequence[Group]) -> str:
    """kNN of corrupted test images, over the severities of each corruption; nothing where it was not measured."""
    measured = [
        group._replace(runs=[run for run in group.runs if CORRUPTED in run.results]) for group in groups
    ]
    measured = [group for group in measured if group.runs]
    if not measured:
        return ""
    names = list(measured[0].runs[0].results[CORRUPTED])
    rows = []
    for group in measured:
        found = [run.results[CORRUPTED] for run in group.runs]
        of_each = [spread([statistics.fmean(one[name]) for one in found]) for name in names]
        over_all = spread([statistics.fmean(x for name in names[1:] for x in one[name]) for one in found])
        seeds = ", ".join(str(run.config["seed"]) for run in group.runs)
        rows.append([group.label, seeds, *map(_percent, [*of_each, over_all])])
    about = (
        "kNN of corrupted test images, each the mean over five severities, among the first 10,000 training images "
        f"as they are; by `python -m benchmarks.robustness --study={record['study']}`:"
    )
    heads = ["runs", "seeds", *(f"{name}, %" for name in [*names, "all corruptions"])]
    return f"{about}\n\n{results.table(heads, rows, texts=2)}"


def _machines(record: Record) -> str:
    lines = [
        [
            row["label"],
            run["name"],
            run["date"],
            results.machine_of(
                {"machine": run["machine"], "devices": run["devices"]["count"]},
                ("jax", "flax"),
                run["versions"],
            ),
            duration(run["train_seconds"]),
        ]
        for row in record["rows"]
        for run in row["runs"]
    ]
    return results.table(["row", "run", "date", "machine", "training"], lines, texts=4)


def _percent(found: Spread | None) -> str:
    if found is None:
        return "-"
    mean = f"{100 * found.mean:.2f}"
    return mean if found.std is None else f"{mean} ± {100 * found.std:.2f}"


if __name__ == "__main__":
    for module in (folders, results):
        flags.adopt_module_key_flags(module)  # for --help
    flags.mark_flag_as_required("study")
    app.run(main)
