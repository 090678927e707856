"""Train and evaluate all runs of a study, and write their table and pictures.

    python -m benchmarks.accuracy --study=cifar10_reduced --data_dir=/data/tfds
    python -m benchmarks.accuracy --study=k1_k2_fashion_mnist --data_dir=/data/tfds

Starts one command of main.py for each row, which anybody can start alone; the page has them. Repeat the command to go
on after an interruption. Runs that are complete are not trained again.
"""

import pathlib
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from benchmarks import machine, results
from benchmarks.results import Record
from benchmarks.studies import STUDIES, Study
from tcl_jax.errors import UserError
from tcl_jax.fields import metric_title
from tcl_jax.modes.compare import read_run
from tcl_jax.report.comparison import (
    ComparedRun,
    Group,
    Spread,
    curve_of,
    group_runs,
    metric_names,
    metric_spread,
)
from tcl_jax.report.heat_map import draw_heat_map, heat_maps
from tcl_jax.report.plots import Series, curves
from tcl_jax.run.workdir import Workdir

_STUDY = flags.DEFINE_enum("study", None, list(STUDIES), "Which runs; benchmarks/studies.py has them.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of prepared TFDS data, as data.data_dir of a config.")
_RUNS = flags.DEFINE_string("runs", "runs", "Folder in which the runs have theirs.")

_DATA_TITLES = {"cifar10": "CIFAR-10 (JPEG copy)", "fashion_mnist": "FashionMNIST"}
_HELD_OUT = "kNN of held-out images"


def main(argv: list[str]) -> None:
    """Make the runs that are not there yet, write the record and its page, and print the page."""
    del argv
    name, study = _STUDY.value, STUDIES[_STUDY.value]
    record = results.start(results.OUTPUT.value)
    record |= {"study": name, "reduced": study.reduced, "about": study.about, "rows": []}
    for row in study.rows:
        command = study.command(row)
        print(f"{row.label}: {shlex.join(command)}", flush=True)
        workdir = pathlib.Path(_RUNS.value) / name / row.folder
        _run([*command, f"--workdir={workdir}", f"--config.data.data_dir={_DATA_DIR.value}"])
        runs = _recorded_runs(workdir, study)
        record["rows"].append({"label": row.label, "command": shlex.join(command), "runs": runs})
    record["devices"] = record["rows"][0]["runs"][0]["devices"]["count"]
    file = f"accuracy_{name}_{machine.device_name()}"
    print(results.write(record, page, results.OUTPUT.value, file, pictures))


def _run(command: list[str]) -> None:
    """As it is typed, with its own progress; the study ends where it fails."""
    code = subprocess.run([sys.executable, *command[1:]], check=False).returncode
    if code:
        print("Stopped there: repeat the command to go on.", file=sys.stderr)
        sys.exit(code)


def _recorded_runs(workdir: pathlib.Path, study: Study) -> list[Record]:
    """The runs of a sweep in the order of their values, with all but where the data are on this machine."""
    folders = [path.parent for path in workdir.glob("*/results.json")]
    try:
        runs = [run for folder in sorted(folders) if (run := read_run(Workdir(str(folder))))]
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
    runs.sort(key=lambda run: [run.config[field] for field in (*study.swept(), "seed")])
    return [
        {
            "name": pathlib.Path(run.name).name,
            "config": {field: value for field, value in run.config.items() if field != "data.data_dir"},
            **run.results,
            "curve": _curve(run),
        }
        for run in runs
    ]


def _curve(run: ComparedRun) -> list[Record]:
    """Loss and held-out accuracy at the end of each epoch."""
    kept = ("epoch", "step", "loss", "validation_knn")
    at_ends = [record for record in run.records if record.get("validation_knn") is not None]
    return [{key: record[key] for key in kept if key in record} for record in at_ends]


def page(record: Record) -> str:
    """Markdown: a table with mean and deviation over seeds, and the command of each row."""
    groups = [group for row in record["rows"] for group in groups_of(row)]
    config = groups[0].runs[0].config
    data = _DATA_TITLES.get(config["data.name"], config["data.name"])
    return results.page(
        f"{data}{', reduced protocol' if record['reduced'] else ''}: {record['study']}",
        record,
        _protocol(
            config, rates={run.config["train.learning_rate"] for group in groups for run in group.runs}
        ),
        record["about"],
        _table(groups, with_held_out=bool(_swept(record))),
        "Each row alone, with `--workdir` and `--config.data.data_dir` as you like:",
        "\n".join(f"    {row['command']}  # {row['label']}" for row in record["rows"]),
        packages=("jax", "flax"),
    )


def pictures(record: Record) -> dict[str, bytes]:
    """PNGs by name: heat maps where several settings are swept, of one the accuracies over it, else all curves."""
    rows, swept = [groups_of(row) for row in record["rows"]], _swept(record)
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


def groups_of(row: Record) -> list[Group]:
    """The runs of a row that differ in their seed alone, under the row's label and the settings that are swept."""
    groups = group_runs([ComparedRun(run["name"], run["config"], run, run["curve"]) for run in row["runs"]])
    if len(groups) == 1:
        return [groups[0]._replace(label=row["label"])]
    return [group._replace(label=f"{row['label']}, {group.label}") for group in groups]


def _swept(record: Record) -> list[str]:
    """The fields that are swept, but for the seed."""
    return list(groups_of(record["rows"][0])[0].settings)


def _held_out(group: Group) -> tuple[list[float], list[Spread]]:
    """kNN accuracy of held-out images against epochs."""
    return curve_of(group, "validation_knn")


def _at_end(group: Group) -> Spread | None:
    """kNN accuracy of held-out images at the end, by which settings are chosen; not by test images."""
    _, found = _held_out(group)
    return found[-1] if found else None


def _over(field: str, groups: list[Group]) -> tuple[list[Any], list[Spread | None]]:
    """kNN accuracy of held-out images at the end, against a setting."""
    return [group.settings[field] for group in groups], [_at_end(group) for group in groups]


def _line(label: str, x: list[Any], found: Sequence[Any]) -> Series:
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


def _table(groups: list[Group], *, with_held_out: bool) -> str:
    metrics = metric_names(groups)
    heads = [f"{_HELD_OUT}, %"] * with_held_out
    heads += [f"{metric_title(name)}, top-1, %" for name in metrics]
    rows = []
    for group in groups:
        found = [_at_end(group)] * with_held_out
        found += [metric_spread(group, name) for name in metrics]
        seeds = ", ".join(str(run.config["seed"]) for run in group.runs)
        rows.append([group.label, seeds, *map(_percent, found)])
    return results.table(["runs", "seeds", *heads], rows, texts=2)


def _percent(found: Spread | None) -> str:
    if found is None:
        return "-"
    mean = f"{100 * found.mean:.2f}"
    return mean if found.std is None else f"{mean} ± {100 * found.std:.2f}"


if __name__ == "__main__":
    flags.adopt_module_key_flags(results)  # for --help
    flags.mark_flag_as_required("study")
    app.run(main)
