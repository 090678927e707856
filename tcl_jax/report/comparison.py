"""Runs side by side: which of them are alike but for the seed, and what the figures of those are on the mean."""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

FIGURES = {
    "linear_probe": "linear probe, top-1",
    "knn": "kNN, top-1",
    "test_top1": "trained classifier, top-1",
}
"""The accuracies of results.json that are compared, with their names for people."""

# The seed tells the runs of a group apart; the others change no figure.
_NOT_COMPARED = ("seed", "data.data_dir", "data.streaming", "log.", "checkpoint.")


class Run(NamedTuple):
    """What a run left: its name; its config by full field names; results.json; the records of metrics.jsonl."""

    name: str
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]


class Group(NamedTuple):
    """Runs whose configs differ in their seed alone.

    Attributes:
      label: the settings in which groups differ, as "loss.name=tcl, loss.k1=10"; of a single group, the config's name.
      settings: the same by field.
      runs: at least one.
    """

    label: str
    settings: dict[str, Any]
    runs: list[Run]


class Spread(NamedTuple):
    """Mean and standard deviation (of a sample, so divided by runs - 1; None for one run) of a figure of some runs."""

    mean: float
    std: float | None
    runs: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.std is None else f"{self.mean:.4f} ± {self.std:.4f}"


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """The runs by what their configs have in common but for the seed, in the order in which they are given."""
    compared = [
        {
            field: _hashable(value)
            for field, value in run.config.items()
            if not field.startswith(_NOT_COMPARED)
        }
        for run in runs
    ]
    fields = list(dict.fromkeys(field for config in compared for field in config))
    differing = [field for field in fields if len({config.get(field) for config in compared}) > 1]
    groups: dict[tuple[Any, ...], Group] = {}
    for run, config in zip(runs, compared, strict=True):
        settings = {field: config.get(field) for field in differing}
        label = ", ".join(f"{field}={brief(value)}" for field, value in settings.items())
        group = groups.setdefault(
            tuple(settings.values()), Group(label or run.results["config_name"], settings, [])
        )
        group.runs.append(run)
    return list(groups.values())


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean and standard deviation of the values that are there; None where none is.

    >>> str(spread([0.5, 0.7]))
    '0.6000 ± 0.1414'
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return None
    return Spread(
        statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else None, len(finite)
    )


def figure_of(run: Run, figure: str) -> float | None:
    """An accuracy of a run by its name in `FIGURES`, 0 to 1; None where the run has none."""
    value = run.results.get(figure)
    return value["top1"] if isinstance(value, Mapping) else value


def spreads(group: Group) -> dict[str, Spread | None]:
    """Mean and standard deviation of each of `FIGURES` and of "final_train_loss" over the runs of a group."""
    found = {figure: spread([figure_of(run, figure) for run in group.runs]) for figure in FIGURES}
    return found | {"final_train_loss": spread([run.results["final_train_loss"] for run in group.runs])}


def shown_figures(groups: Sequence[Group]) -> list[str]:
    """Those of `FIGURES` that some run has."""
    return [figure for figure in FIGURES if any(spreads(group)[figure] for group in groups)]


def curve_of(group: Group, figure: str) -> tuple[list[float], list[Spread]]:
    """A figure of metrics.jsonl against epochs, over the runs of a group that have it at the same step.

    Args:
      figure: "loss", "validation_knn" or another name in the records.

    Returns:
      epochs (with their parts) and the spreads at them; none where no run has the figure.
    """
    by_step: dict[int, list[float]] = {}
    for run in group.runs:
        for record in run.records:
            if record.get(figure) is not None:
                by_step.setdefault(record["step"], []).append(record[figure])
    last = [run.records[-1] for run in group.runs if run.records]
    per_epoch = max((record["step"] / (record["epoch"] + 1) for record in last), default=1.0)
    steps = sorted(step for step, values in by_step.items() if spread(values) is not None)
    return [step / per_epoch for step in steps], [spread(by_step[step]) for step in steps]  # type: ignore[misc]


def to_rows(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """A table for people: heads, and a row for each group."""
    figures = shown_figures(groups)
    heads = ["runs", "seeds", *(FIGURES[figure] for figure in figures), "final training loss"]
    rows = []
    for group in groups:
        found = spreads(group)
        seeds = ", ".join(brief(run.config.get("seed")) for run in group.runs)
        rows.append(
            [
                group.label,
                seeds,
                *("-" if found[figure] is None else str(found[figure]) for figure in figures),
                "-" if found["final_train_loss"] is None else str(found["final_train_loss"]),
            ]
        )
    return heads, rows


def to_markdown(groups: Sequence[Group]) -> str:
    """The table in Markdown; the standard deviation is over seeds."""
    heads, rows = to_rows(groups)
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)], *rows]
    return "".join(f"| {' | '.join(_in_cell(text) for text in line)} |\n" for line in lines)


def to_csv(groups: Sequence[Group]) -> str:
    """A line for each run: its group, name, settings, seed and figures."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fields = list(groups[0].settings)
    writer.writerow(["group", "run", *fields, "seed", *FIGURES, "final_train_loss", "params_sha256"])
    for group in groups:
        for run in group.runs:
            writer.writerow(
                [
                    group.label,
                    run.name,
                    *(brief(value) for value in group.settings.values()),
                    run.config.get("seed"),
                    *(figure_of(run, figure) for figure in FIGURES),
                    run.results["final_train_loss"],
                    run.results["params_sha256"],
                ]
            )
    return out.getvalue()


def brief(value: Any) -> str:
    """A setting in few characters that tell it exactly.

    >>> brief(5000.0), brief(0.1), brief(("simaug", "none"))
    ('5000', '0.1', 'simaug+none')
    """
    if isinstance(value, tuple):
        return "+".join(map(brief, value))
    if isinstance(value, float) and not isinstance(value, bool):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return "absent" if value is None else str(value)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _in_cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
