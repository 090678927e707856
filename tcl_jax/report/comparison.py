"""Runs side by side: which of them differ in their seed alone, and mean and deviation of their metrics."""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tcl_jax.fields import brief, metric_title
from tcl_jax.report.results import number

# The seed is what differs within a group; the others change no metric.
_NOT_COMPARED = ("seed", "data.data_dir", "data.streaming", "log.", "checkpoint.")


class ComparedRun(NamedTuple):
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
    runs: list[ComparedRun]


class Spread(NamedTuple):
    """Mean and standard deviation (of a sample, so divided by runs - 1; None for one run) of values of some runs."""

    mean: float
    std: float | None
    runs: int

    def __str__(self) -> str:
        return number(self.mean) if self.std is None else f"{number(self.mean)} ± {number(self.std)}"


def group_runs(runs: Sequence[ComparedRun]) -> list[Group]:
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


def metric_names(groups: Sequence[Group]) -> list[str]:
    """Metrics of results.json that some run has, in the order in which they appear."""
    return list(
        dict.fromkeys(name for group in groups for run in group.runs for name in run.results["metrics"])
    )


def metric_spread(group: Group, metric: str) -> Spread | None:
    """Mean and standard deviation of a metric over the runs of a group; None where none has it."""
    return spread([run.results["metrics"].get(metric) for run in group.runs])


def curve_of(group: Group, key: str) -> tuple[list[float], list[Spread]]:
    """Values of metrics.jsonl against epochs, over the runs of a group that have some at the same step.

    Args:
      key: of the values in a record, as "loss" or "validation_knn".

    Returns:
      epochs (with their parts) and the spreads at them; none where no run has such values.
    """
    by_step: dict[int, list[float]] = {}
    for run in group.runs:
        for record in run.records:
            if record.get(key) is not None:
                by_step.setdefault(record["step"], []).append(record[key])
    last = [run.records[-1] for run in group.runs if run.records]
    per_epoch = max((record["step"] / (record["epoch"] + 1) for record in last), default=1.0)
    steps = sorted(step for step, values in by_step.items() if spread(values) is not None)
    return [step / per_epoch for step in steps], [spread(by_step[step]) for step in steps]  # type: ignore[misc]


def to_rows(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """A table for people: heads, and a row for each group."""
    metrics = metric_names(groups)
    heads = ["runs", "seeds", *map(metric_title, metrics), "final training loss"]
    rows = []
    for group in groups:
        seeds = ", ".join(brief(run.config.get("seed")) for run in group.runs)
        losses = spread([run.results["final_train_loss"] for run in group.runs])
        spreads = [*(metric_spread(group, metric) for metric in metrics), losses]
        rows.append([group.label, seeds, *("-" if found is None else str(found) for found in spreads)])
    return heads, rows


def to_markdown(groups: Sequence[Group]) -> str:
    """The table in Markdown; the standard deviation is over seeds."""
    heads, rows = to_rows(groups)
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)], *rows]
    return "".join(f"| {' | '.join(_in_cell(text) for text in line)} |\n" for line in lines)


def to_csv(groups: Sequence[Group]) -> str:
    """A line for each run: its group, name, settings, seed, metrics and final training loss."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fields, metrics = list(groups[0].settings), metric_names(groups)
    writer.writerow(["group", "run", *fields, "seed", *metrics, "final_train_loss", "params_sha256"])
    for group in groups:
        for run in group.runs:
            writer.writerow(
                [
                    group.label,
                    run.name,
                    *(brief(value) for value in group.settings.values()),
                    run.config.get("seed"),
                    *(run.results["metrics"].get(metric) for metric in metrics),
                    run.results["final_train_loss"],
                    run.results["params_sha256"],
                ]
            )
    return out.getvalue()


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _in_cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
