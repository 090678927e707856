"""The page of a study: one table with the mean and deviation over seeds, the command of each row, and pictures."""

import shlex
from typing import Any, NamedTuple

from benchmarks.studies import Row, Study
from tcl_jax.report.comparison import (
    FIGURES,
    Group,
    Run,
    Spread,
    curve_of,
    group_runs,
    shown_figures,
    spreads,
)
from tcl_jax.report.figures import Series, curves
from tcl_jax.report.heat_map import draw_heat_map, heat_maps

DATA_NAMES = {"cifar10": "CIFAR-10 (JPEG copy)", "fashion_mnist": "FashionMNIST", "digits": "digits"}


class Result(NamedTuple):
    """A row of a study, the command that makes it, and the runs that it made."""

    row: Row
    command: list[str]
    runs: list[Run]


def groups_of(result: Result) -> list[Group]:
    """The runs that differ in their seed alone, under the row's label and what else is swept."""
    groups = group_runs(result.runs)
    if len(groups) == 1:
        return [groups[0]._replace(label=result.row.label)]
    return [group._replace(label=f"{result.row.label}, {group.label}") for group in groups]


def held_out(group: Group) -> Spread | None:
    """kNN accuracy of held-out images at the end of training, by which settings are chosen; not by test images."""
    _, found = curve_of(group, "validation_knn")
    return found[-1] if found else None


def page(record: dict[str, Any], study: Study, results: list[Result], files: list[str]) -> str:
    """Markdown of a study; `files` are its pictures, beside it."""
    groups = [group for result in results for group in groups_of(result)]
    runs = [run for group in groups for run in group.runs]
    run = runs[0]
    data = DATA_NAMES.get(run.config["data.name"], run.config["data.name"])
    parts = [
        f"# {data}{', reduced protocol' if study.reduced else ''}: {record['study']}",
        f"    {record['command']}",
        _circumstances(record, runs),
        study.about,
        "\n".join(_table(groups, with_held_out=bool(study.swept()))),
        *(f"![{file}]({file})" for file in files),
        _commands(results),
    ]
    return "\n\n".join(parts) + "\n"


def pictures(study: Study, results: list[Result]) -> dict[str, bytes]:
    """PNGs by name: heat maps where several settings are swept, of one the accuracies over it, else all curves."""
    if len(study.swept()) > 1:
        maps = [one for result in results for one in heat_maps(group_runs(result.runs))]
        return {one.name.replace("-", "_"): draw_heat_map(one).png for one in maps}
    if study.swept():
        (field,) = study.swept()
        series = [
            _series(
                result.row.label,
                [group.runs[0].config[field] for group in groups_of(result)],
                [held_out(group) for group in groups_of(result)],
            )
            for result in results
        ]
        x_label, what = field, "settings"
    else:
        groups = [group for result in results for group in groups_of(result)]
        series = [_series(group.label, *curve_of(group, "validation_knn")) for group in groups]
        x_label, what = "epoch", "curves"
    return {what: curves(series, name="knn", x_label=x_label, y_label="kNN of held-out images, top-1").png}


def _series(label: str, x: list[Any], found: list[Any]) -> Series:
    """The means, in a band of a standard deviation to each side."""
    means, widths = [s.mean for s in found], [s.std or 0.0 for s in found]
    low = [m - w for m, w in zip(means, widths, strict=True)]
    high = [m + w for m, w in zip(means, widths, strict=True)]
    return Series(label, x, means, low, high)


def _circumstances(record: dict[str, Any], runs: list[Run]) -> str:
    computer, config, results = record["machine"], runs[0].config, runs[0].results
    devices = results["devices"]
    versions = ", ".join(f"{name} {results['versions'][name]}" for name in ("jax", "flax"))
    rates = sorted({run.config["train.learning_rate"] for run in runs})
    return (
        f"{record['date']}; {devices['count']} x {computer['device']} ({computer['processor']}), {computer['cores']} "
        f"cores, {versions}.\n\n"
        f"{config['model.name']}, width {config['model.width']}; data.train_split {config['data.train_split']}, "
        f"of which {config['validation.images']} images are held out; {config['train.epochs']} epochs, "
        f"{config['train.batch_size']} images per step, learning rate {', '.join(map(str, rates))}, "
        f"views {', '.join(config['augment.views'])}."
    )


def _table(groups: list[Group], *, with_held_out: bool) -> list[str]:
    figures = shown_figures(groups)
    heads = [f"{FIGURES[figure]}, %" for figure in figures]
    if with_held_out:
        heads = ["kNN of held-out images, %", *heads]
    lines = [f"| runs | seeds | {' | '.join(heads)} |", f"| --- | --- |{' ---: |' * len(heads)}"]
    for group in groups:
        found = spreads(group)
        cells = [_percent(found[figure]) for figure in figures]
        if with_held_out:
            cells = [_percent(held_out(group)), *cells]
        seeds = ", ".join(str(run.config["seed"]) for run in group.runs)
        lines.append(f"| {group.label} | {seeds} | {' | '.join(cells)} |")
    return lines


def _percent(found: Spread | None) -> str:
    if found is None:
        return "-"
    mean = f"{100 * found.mean:.2f}"
    return mean if found.std is None else f"{mean} ± {100 * found.std:.2f}"


def _commands(results: list[Result]) -> str:
    lines = [f"    {shlex.join(result.command)}  # {result.row.label}" for result in results]
    return "Each row alone, with `--workdir` and `--config.data.data_dir` as you like:\n\n" + "\n".join(lines)
