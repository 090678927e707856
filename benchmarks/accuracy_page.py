"""The page and the pictures of `benchmarks.accuracy`: tables over seeds, what is missing, commands, machines."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks import results
from benchmarks.results import Record
from tcl_jax.fields import brief, metric_title
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

_DATA_TITLES = {"cifar10": "CIFAR-10 (JPEG copy)", "fashion_mnist": "FashionMNIST"}
_HELD_OUT = "kNN of held-out images"
_TOP_1 = ("linear_probe", "logistic_regression", "knn", "classifier")

CORRUPTED = "corrupted_knn"
"""Of a run in the record: accuracies by corruption, where benchmarks/robustness.py has measured them."""


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
