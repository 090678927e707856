"""The table of results in the terminal: few rows, and in each what a reader looks for."""

import io

import pytest
from rich.console import Console

from tcl_jax.report.results import print_results

RESULTS = {
    "dataset": "digits",
    "evaluated_on": "digits",
    "loss": "tcl",
    "checkpoint": "latest",
    "step": 3,
    "metrics": {"knn": 0.75},
    "devices": {"kind": "cpu", "count": 1},
}


def printed(results, workdir="runs/a", **terminal):
    console = Console(file=io.StringIO(), **terminal)
    print_results(results, workdir, console=console)
    return console.file.getvalue()


def rows(**more):
    """Lines by their first column."""
    lines = printed(RESULTS | more).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in cells if others}


def test_results_of_older_versions_have_their_values_alone():
    assert rows()["kNN"] == ["0.7500"]


def test_a_file_gets_plain_lines_and_a_terminal_rules_within_its_width():
    results = RESULTS | {"dataset": "[red]digits :smile:", "per_class": {"knn": {"[bold]ant": 0.5}}}
    workdir = "/data/" + "long" * 40
    plain = printed(results, workdir)
    assert plain.isascii()
    assert workdir in plain
    assert "[red]digits :smile:" in plain
    assert "[bold]ant" in plain
    terminal = printed(results, workdir, force_terminal=True, width=60)
    assert max(len(line) for line in terminal.splitlines()) <= 60 + len("\x1b[1m\x1b[0m") * 4
    assert "─" * 20 in terminal
    assert "[red]digits :smile:" in terminal


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"deviations": {"knn": 0.0133}}, "0.7500 ± 0.0133"),
        ({"top_5": {"knn": 0.99}}, "0.7500 (top-5 0.9900)"),
        ({"macro_average": {"knn": 0.75}}, "0.7500"),
        ({"macro_average": {"knn": 0.75001}}, "0.7500"),  # no difference that the table shows
        ({"macro_average": {"knn": 0.5}}, "0.7500 (macro average 0.5000)"),
        (
            {"deviations": {"knn": 0.01}, "top_5": {"knn": 1.0}, "macro_average": {"knn": 0.5}},
            "0.7500 ± 0.0100 (top-5 1.0000, macro average 0.5000)",
        ),
        ({"top_5": {"other": 0.99}}, "0.7500"),
        ({"metrics": {"knn": None}}, "-"),
    ],
)
def test_a_metric_has_one_row_for_all_there_is_of_it(more, expected):
    assert rows(**more)["kNN"] == [expected]


def test_each_class_has_a_row_and_each_metric_of_a_single_draw_a_column():
    by_class = {
        "linear_probe": {"ant": 0.5, "a very\nlong bee": 0.25},
        "knn": {"ant": 0.625, "a very\nlong bee": 1.0},
        "labels_5_per_class": {"ant": 0.1, "a very\nlong bee": 0.2},
    }
    found = rows(per_class=by_class, deviations={"labels_5_per_class": 0.1})
    assert found["accuracy by class"] == ["linear probe", "kNN"]
    assert found["ant"] == ["0.5000", "0.6250"]
    assert found["a very long bee"] == ["0.2500", "1.0000"]


def test_of_many_classes_the_lowest_are_shown():
    accuracies = {f"class {i}": (7 * i % 20) / 20 for i in range(20)}
    found = rows(per_class={"knn": accuracies})
    assert found["lowest of 20 classes"] == ["kNN"]
    shown = [name for name in found if name.startswith("class")]
    assert [accuracies[name] for name in shown] == [i / 20 for i in range(10)]


def test_metrics_of_several_draws_alone_have_no_classes_in_the_table():
    assert "accuracy by class" not in rows(per_class={"knn": {"ant": 0.5}}, deviations={"knn": 0.1})
