"""The results of a finished run for people: tables for the terminal, and numbers as pages write them."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tcl_jax.fields import metric_title

_MOST_CLASSES = 10
_LONGEST_NAME = 40  # characters


def print_results(results: Mapping[str, Any], workdir: str, *, console: Console | None = None) -> None:
    """Prints results.json as a table of two columns; what it lacks has no row.

    Below it is the accuracy of each class, of ten classes at most: where there are more, of those in which the first
    metric is lowest. In a terminal the tables have rules and are as wide as it at most; elsewhere they are plain text.
    """
    console = Console() if console is None else console
    if not console.is_terminal:
        console.width = 10_000  # no line of a file is folded
    for table in (_summary(results, workdir), *_by_class(results)):
        table.box = box.HORIZONTALS if console.is_terminal else box.ASCII2
        console.print(table)


def _summary(results: Mapping[str, Any], workdir: str) -> Table:
    best, seconds, views = (results.get(key) for key in ("best", "train_seconds", "views_per_second"))
    rows: list[tuple[str, Any]] = [
        ("data set", results["dataset"]),
        ("loss", results["loss"]),
        ("epochs", results.get("epochs")),
        (
            "final training loss",
            number(results["final_train_loss"]) if "final_train_loss" in results else None,
        ),
        ("steps skipped", results.get("skipped_steps") or None),
        (
            "best checkpoint",
            best
            and f"{metric_title(best['metric'])} {number(best['value'])} of held-out images, step {best['step']}",
        ),
        ("evaluated", results["checkpoint"] == "best" and f"the best checkpoint, step {results['step']}"),
        ("evaluated on", _evaluated_on(results)),
        *((metric_title(name), _of_metric(results, name)) for name in results["metrics"]),
        ("training", seconds is not None and f"{seconds:.1f} s"),
        ("rate", seconds is not None and f"{number(views, decimals=0)} views/s"),
        ("devices", f"{results['devices']['count']} x {results['devices']['kind']}"),
        ("written to", workdir),
    ]
    table = Table("", "", show_header=False)
    table.columns[1].overflow = "fold"
    for name, value in rows:
        if value not in (None, False):
            table.add_row(name, Text(str(value)))  # not markup, whatever is in it
    return table


def metric_details(results: Mapping[str, Any], name: str, *, deviation: bool) -> list[str]:
    """What else there is of a metric that differs from its value.

    Args:
      deviation: whether that over draws is among it.
    """
    keys = ("deviations", "top_5", "macro_average")
    over_draws, top_5, average = (results.get(key, {}).get(name) for key in keys)
    more = [f"± {number(over_draws)} over draws"] if deviation and over_draws is not None else []
    if top_5 is not None:
        more.append(f"top-5 {number(top_5)}")
    if average is not None and number(average) != number(results["metrics"][name]):
        more.append(f"macro average {number(average)}")
    return more


def _of_metric(results: Mapping[str, Any], name: str) -> str:
    over_draws = results.get("deviations", {}).get(name)
    value = number(results["metrics"][name]) + ("" if over_draws is None else f" ± {number(over_draws)}")
    more = metric_details(results, name, deviation=False)
    return f"{value} ({', '.join(more)})" if more else value


def _by_class(results: Mapping[str, Any]) -> list[Table]:
    """A table with a column for each metric that is not of several draws; none where there is no such metric."""
    metrics = {
        metric_title(name): found
        for name, found in results.get("per_class", {}).items()
        if name not in results.get("deviations", {})
    }
    if not metrics:
        return []
    first = next(iter(metrics.values()))
    names, head = list(first), "accuracy by class"
    if len(names) > _MOST_CLASSES:
        head = f"lowest of {len(names):,} classes"
        names = sorted(names, key=first.__getitem__)[:_MOST_CLASSES]
    table = Table(head)
    for title in metrics:
        table.add_column(title, justify="right")
    for name in names:
        label = Text(" ".join(name.split())[:_LONGEST_NAME])
        table.add_row(label, *(number(found.get(name)) for found in metrics.values()))
    return [table]


def _evaluated_on(results: Mapping[str, Any]) -> str | None:
    """Said where it is not the test split of the data that were trained on."""
    name = results.get("evaluated_on", results["dataset"])  # missing in older versions
    if name is None:
        return "nothing, as data.test_split is ''"
    return name if name != results["dataset"] else None


def number(value: float | None, decimals: int = 4) -> str:
    """A number as tables and pages write it; a dash where there is none.

    Of very small and very large ones `decimals` are the digits that count.

    >>> number(0.98888), number(0.0000123), number(1234.5, decimals=0), number(2e9), number(None)
    ('0.9889', '1.23e-05', '1,234', '2e+09', '-')
    """
    if value is None:
        return "-"
    plain = value == 0 or 10**-decimals <= abs(value) < 1e9
    return format(value, f",.{decimals}f" if plain else f".{decimals}g")


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(59.94), duration(61), duration(7260)
    ('59.9 s', '1 min 1 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def named(metric: str) -> str:
    """A metric inside a sentence, with its article.

    >>> named("linear_probe"), named("knn")
    ('the linear probe', 'kNN')
    """
    title = metric_title(metric)
    return title if title != title.lower() else f"the {title}"


def capitalized(text: str) -> str:
    """The text with a capital letter first, unless its first word has one already.

    >>> capitalized("linear probe"), capitalized("kNN")
    ('Linear probe', 'kNN')
    """
    first = text.split(" ")[0]
    return text if first != first.lower() else f"{text[:1].upper()}{text[1:]}"
