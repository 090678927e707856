"""The page of a study: one table with the mean and deviation over seeds, the command of each row, and pictures."""

import shlex
from typing import Any, NamedTuple

from benchmarks.studies import Row, Study
from tcl_jax.report.comparison import FIGURES, Group, Run, curve_of, group_runs, shown_figures, spreads
from tcl_jax.report.figures import Series, curves
from tcl_jax.report.heat_map import draw_heat_map, heat_maps

DATA_NAMES = {"cifar10": "CIFAR-10 (JPEG copy)", "fashion_mnist": "FashionMNIST", "digits": "digits"}


class Result(NamedTuple):
    """A row of a study, the command that makes it, and the runs that it made."""

    row: Row
    command: list[str]
    runs: list[Run]


def groups_of(result: Result) -> list[Group]:
    """The runs that differ in their seed alone; of a row without another sweep, all under its label."""
    groups = group_runs(result.runs)
    return [groups[0]._replace(label=result.row.label)] if len(groups) == 1 else groups


def page(record: dict[str, Any], study: Study, results: list[Result], files: list[str]) -> str:
    """Markdown of a study; `files` are its pictures, beside it."""
    groups = [group for result in results for group in groups_of(result)]
    run = groups[0].runs[0]
    data = DATA_NAMES.get(run.config["data.name"], run.config["data.name"])
    parts = [
        f"# {data}{', reduced protocol' if study.reduced else ''}: {record['study']}",
        f"    {record['command']}",
        _circumstances(record, run),
        study.about,
        "\n".join(_table(groups)),
        *(f"![{file}]({file})" for file in files),
        _commands(results),
    ]
    return "\n\n".join(parts) + "\n"


def pictures(study: Study, results: list[Result]) -> dict[str, bytes]:
    """PNGs by name: heat maps where settings are swept, else the curves of all rows over each other."""
    groups = [group for result in results for group in groups_of(result)]
    maps = [one for result in results for one in heat_maps(group_runs(result.runs))]
    if maps:
        return {one.name.replace("-", "_"): draw_heat_map(one).png for one in maps}
    series = []
    for group in groups:
        epochs, found = curve_of(group, "validation_knn")
        means, widths = [s.mean for s in found], [s.std or 0.0 for s in found]
        low = [m - w for m, w in zip(means, widths, strict=True)]
        high = [m + w for m, w in zip(means, widths, strict=True)]
        series.append(Series(group.label, epochs, means, low, high))
    drawn = curves(series, name="knn", x_label="epoch", y_label="kNN of held-out images, top-1")
    return {"curves": drawn.png}


def _circumstances(record: dict[str, Any], run: Run) -> str:
    computer, config, devices = record["machine"], run.config, run.results["devices"]
    versions = ", ".join(f"{name} {run.results['versions'][name]}" for name in ("jax", "flax"))
    return (
        f"{record['date']}; {devices['count']} x {computer['device']} ({computer['processor']}), {computer['cores']} "
        f"cores, {versions}.\n\n"
        f"{config['model.name']}, width {config['model.width']}; data.train_split {config['data.train_split']}, "
        f"of which {config['validation.images']} images are held out; {config['train.epochs']} epochs, "
        f"{config['train.batch_size']} images per step, learning rate {config['train.learning_rate']}, views "
        f"{', '.join(config['augment.views'])}."
    )


def _table(groups: list[Group]) -> list[str]:
    figures = shown_figures(groups)
    heads = ["runs", "seeds", *(f"{FIGURES[figure]}, %" for figure in figures)]
    lines = [f"| {' | '.join(heads)} |", f"| --- | --- |{' ---: |' * len(figures)}"]
    for group in groups:
        found = spreads(group)
        cells = [_percent(found[figure]) for figure in figures]
        seeds = ", ".join(str(run.config["seed"]) for run in group.runs)
        lines.append(f"| {group.label} | {seeds} | {' | '.join(cells)} |")
    return lines


def _percent(spread: Any) -> str:
    if spread is None:
        return "-"
    mean = f"{100 * spread.mean:.2f}"
    return mean if spread.std is None else f"{mean} ± {100 * spread.std:.2f}"


def _commands(results: list[Result]) -> str:
    lines = [f"    {shlex.join(result.command)}  # {result.row.label}" for result in results]
    return "Each row alone, with `--workdir` and `--config.data.data_dir` as you like:\n\n" + "\n".join(lines)
