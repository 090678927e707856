"""The pages of studies: what they say of the runs in a record."""

import numpy as np
import pytest

from benchmarks.accuracy_page import groups_of, page, pictures
from configs import protocol
from tcl_jax.fields import flat_items

pytestmark = pytest.mark.slow  # of tools and records


def row_of(label, knn, **config):
    """A row of a record whose runs have these accuracies, one for each seed."""
    base = dict(flat_items(protocol.get_config("cifar10_reduced"))) | config
    runs = [
        {
            "name": f"seed={seed}",
            "config": base | {"seed": seed},
            "config_name": "protocol_cifar10_reduced",
            "metrics": {"linear_probe": 0.5, "knn": value},
            "final_train_loss": 1.0,
            "train_seconds": 60.0 + seed,
            "date": f"2026-01-0{seed + 1}",
            "machine": {"device": "CPU", "processor": "one", "cores": 2},
            "devices": {"count": 1},
            "versions": {"jax": "1.2.3", "flax": "3.2.1"},
            "curve": [{"step": step, "epoch": step - 1, "validation_knn": 0.1 * step} for step in (1, 2)],
        }
        for seed, value in enumerate(knn)
    ]
    return {"label": label, "command": f"python main.py {label}", "runs": runs}


def swept_row(label, field, accuracies):
    """A row with runs of two seeds at each value of a field."""
    rows = [row_of(label, knn, **{field: value}) for value, knn in accuracies.items()]
    return rows[0] | {"runs": [run for row in rows for run in row["runs"]]}


def record_of(*rows, swept=(), missing=()):
    return {
        "study": "cifar10_reduced",
        "command": "python -m benchmarks.accuracy --study=cifar10_reduced",
        "reduced": True,
        "about": "All alike.",
        "swept": list(swept),
        "missing": list(missing),
        "rows": list(rows),
    }


def test_page_has_mean_and_deviation_of_each_row_and_its_command() -> None:
    accuracies = [0.41, 0.42, 0.46]
    text = page(record_of(row_of("TCL", accuracies), row_of("SupCon", [0.5])))
    mean, deviation = 100 * np.mean(accuracies), 100 * np.std(accuracies, ddof=1)
    assert "| runs | seeds | linear probe, top-1, % | kNN, top-1, % |" in text
    assert f"| TCL | 0, 1, 2 | 50.00 ± 0.00 | {mean:.2f} ± {deviation:.2f} |" in text
    assert "| SupCon | 0 | 50.00 | 50.00 |" in text
    assert "# CIFAR-10 (JPEG copy), reduced protocol: cifar10_reduced" in text
    assert "    python main.py SupCon  # SupCon" in text
    machine = "1 x CPU (one), 2 cores, jax 1.2.3, flax 3.2.1"
    assert (
        f"| TCL | seed=0 | 2026-01-01 | {machine} | 1 min 0 s |\n| TCL | seed=1 | 2026-01-02 | {machine} |"
        in text
    )
    assert "Not finished" not in text


def test_page_has_the_differences_between_the_first_row_and_the_others() -> None:
    ours, theirs = [0.41, 0.42, 0.46], [0.5, 0.52]
    text = page(record_of(row_of("TCL", ours), row_of("SupCon", theirs), row_of("one run", [0.4])))
    error = 100 * np.sqrt(np.var(ours, ddof=1) / 3 + np.var(theirs, ddof=1) / 2)
    assert "| TCL minus | linear probe | kNN |" in text
    assert f"| SupCon | +0.00 ± 0.00 | -8.00 ± {error:.2f} |" in text
    assert "| one run | +0.00 | +3.00 |" in text
    assert "minus" not in page(record_of(row_of("TCL", ours)))
    swept = swept_row("TCL", "train.learning_rate", {0.1: ours, 0.2: theirs})
    assert "minus" not in page(record_of(swept, swept=["train.learning_rate"]))


def test_a_metric_of_some_runs_has_a_column() -> None:
    classifier = row_of("cross-entropy", [0.5])
    classifier["runs"][0]["metrics"]["classifier"] = 0.6
    text = page(record_of(row_of("TCL", [0.4]), classifier))
    assert "| kNN, top-1, % | trained classifier, top-1, % |" in text
    assert "| TCL | 0 | 50.00 | 40.00 | - |" in text
    assert "| cross-entropy | 0 | 50.00 | 50.00 | 60.00 |" in text


def test_metrics_that_are_no_classifiers_have_a_table_of_their_own() -> None:
    row = row_of("TCL", [0.4, 0.5])
    for run, value in zip(row["runs"], (0.2, 0.3), strict=True):
        run["metrics"] |= {"recall_at_1": value, "labels_1_per_class": 0.1}
    text = page(record_of(row))
    assert "| runs | seeds | linear probe, top-1, % | kNN, top-1, % |\n" in text
    assert "| runs | seeds | recall@1, % | 1 label per class, % |\n" in text
    assert "| TCL | 0, 1 | 25.00 ± 7.07 | 10.00 ± 0.00 |" in text


def test_studies_of_methods_have_curves_and_studies_of_settings_what_came_of_them() -> None:
    methods = record_of(row_of("TCL", [0.4, 0.5]), row_of("SupCon", [0.4]))
    assert list(pictures(methods)) == ["curves"]
    rates = {0.1: [0.4, 0.5], 0.2: [0.3, 0.3]}
    found = [swept_row(label, "train.learning_rate", rates) for label in ("TCL", "SupCon")]
    assert [group.label for row in found for group in groups_of(row, ["train.learning_rate"])] == [
        "TCL, train.learning_rate=0.1",
        "TCL, train.learning_rate=0.2",
        "SupCon, train.learning_rate=0.1",
        "SupCon, train.learning_rate=0.2",
    ]
    assert list(pictures(record_of(*found, swept=["train.learning_rate"]))) == ["settings"]
    pairs = [swept_row("TCL", "loss.k1", rates), swept_row("TCL", "loss.k1", rates)]
    for run in pairs[1]["runs"]:
        run["config"]["loss.k2"] = 5.0
    both = pairs[0] | {"runs": pairs[0]["runs"] + pairs[1]["runs"]}
    maps = pictures(record_of(both, swept=["loss.k1", "loss.k2"]))
    assert list(maps) == ["heat_map_1", "heat_map_2"]


def test_settings_are_judged_by_held_out_images_at_the_end() -> None:
    found = swept_row("TCL", "train.learning_rate", {0.1: [0.41, 0.41], 0.2: [0.3, 0.3]})
    for run, knn in zip(found["runs"], (0.36, 0.38), strict=False):
        run["curve"][-1]["validation_knn"] = knn
    found["runs"][0]["curve"].append({"step": 3, "epoch": 2})  # without held-out images
    text = page(record_of(found, swept=["train.learning_rate"]))
    assert "| TCL, train.learning_rate=0.1 | 0, 1 | 37.00 ± 1.41 | 50.00 ± 0.00 | 41.00 ± 0.00 |" in text
    assert "learning rate 0.1, 0.2, views" in text
