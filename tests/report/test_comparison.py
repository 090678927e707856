"""Which runs differ in their seed alone, and mean and deviation of their metrics."""

import csv
import io

import numpy as np
import pytest

from tcl_jax.report.comparison import (
    curve_of,
    group_runs,
    metric_names,
    metric_spread,
    spread,
    to_csv,
    to_markdown,
)
from tests.report.pages import compared as run


def test_runs_that_differ_in_their_seed_and_in_places_are_one_group():
    runs = [
        run("a", seed=0, **{"data.data_dir": "/a", "log.every_steps": 1}),
        run("b", seed=1, **{"data.data_dir": "/b", "log.every_steps": 2}),
        run("c", seed=0, **{"loss.k1": 20.0}),
    ]
    first, second = group_runs(runs)
    assert ([r.name for r in first.runs], first.settings) == (["a", "b"], {"loss.k1": 10.0})
    assert ([r.name for r in second.runs], second.label) == (["c"], "loss.k1=20")


def test_only_settings_that_differ_name_a_group():
    runs = [run("a"), run("b", **{"loss.name": "supcon", "augment.views": ["none", "simaug"]})]
    labels = [group.label for group in group_runs(runs)]
    assert labels == ["loss.name=tcl, augment.views=absent", "loss.name=supcon, augment.views=none+simaug"]
    assert [group.label for group in group_runs(runs[:1])] == ["digits_tcl"]


def test_mean_and_deviation_are_those_of_a_sample():
    values = [0.7, 0.75, 0.9]
    (group,) = group_runs([run(str(v), knn=v, seed=i) for i, v in enumerate(values)])
    found = metric_spread(group, "knn")
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert found.runs == 3
    assert spread([0.5]).std is None
    assert spread([None, float("nan")]) is None


def test_curves_are_means_over_runs_at_the_same_step_against_epochs():
    records = [
        [{"step": s, "epoch": (s - 1) // 10, "loss": seed + s} for s in (5, 10, 15, 20)] for seed in (0, 2)
    ]
    records[1].append({"step": 20, "epoch": 1, "validation_knn": 0.5})
    records[0].insert(2, {"step": 12, "epoch": 1, "loss": None})  # all its steps were skipped
    (group,) = group_runs([run(str(i), seed=i, records=r) for i, r in enumerate(records)])
    epochs, found = curve_of(group, "loss")
    assert epochs == [0.5, 1.0, 1.5, 2.0]
    assert [s.mean for s in found] == [6, 11, 16, 21]
    assert found[0].std == pytest.approx(np.sqrt(2))
    assert curve_of(group, "validation_knn")[0] == [2.0]
    assert curve_of(group, "uniformity") == ([], [])


def test_markdown_has_a_row_for_each_group_and_no_cell_breaks_it():
    groups = group_runs([run("a"), run("b", **{"data.name": "odd|name"})])
    lines = to_markdown(groups).splitlines()
    assert len(lines) == 4
    cells = [line.replace("\\|", "").count("|") for line in lines]
    assert len(set(cells)) == 1
    assert "odd\\|name" in lines[3]


def test_csv_has_a_line_for_each_run_with_exact_numbers():
    knn = 0.1 + 0.2
    runs = [run("a,b", knn=knn), run("c", seed=1), run("d", **{"loss.k1": 0.1 + 0.2})]
    rows = list(csv.DictReader(io.StringIO(to_csv(group_runs(runs)))))
    assert [row["run"] for row in rows] == ["a,b", "c", "d"]
    assert [row["seed"] for row in rows] == ["0", "1", "0"]
    assert float(rows[0]["knn"]) == knn
    assert float(rows[2]["loss.k1"]) == knn
    assert list(rows[0])[-4:] == ["linear_probe", "knn", "final_train_loss", "params_sha256"]


def test_metrics_are_those_that_the_runs_have():
    """Of any name and in no fixed range; where a run has none, its place is empty."""
    other = run("b", **{"loss.k1": 20.0})
    other.results["metrics"] = {"knn": 0.25, "perplexity": 1234.5}
    groups = group_runs([run("a"), other])
    assert metric_names(groups) == ["linear_probe", "knn", "perplexity"]
    assert metric_spread(groups[0], "perplexity") is None
    first, second = csv.DictReader(io.StringIO(to_csv(groups)))
    assert (first["perplexity"], second["perplexity"]) == ("", "1234.5")
    assert (first["linear_probe"], second["linear_probe"]) == ("0.9", "")
    heads, _, *rows = to_markdown(groups).splitlines()
    assert heads == "| runs | seeds | linear probe | kNN | perplexity | final training loss |"
    assert rows[1] == "| loss.k1=20 | 0 | - | 0.2500 | 1,234.5000 | 3.0000 |"
