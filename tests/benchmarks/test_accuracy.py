"""The studies behind docs/reproduction.md: their commands are understood, and their pages say what the runs have."""

import importlib
import shlex
from unittest import mock

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from benchmarks.accuracy import groups_of, page, pictures
from benchmarks.studies import METHODS, STUDIES, Row, Study
from configs import protocol
from tcl_jax.errors import UserError
from tcl_jax.experiment.grid import grid, parse_axes
from tcl_jax.experiment.parts import check_numbers, make_parts
from tcl_jax.experiment.program import Facts, make_program, make_settings
from tcl_jax.fields import flat_items
from tcl_jax.parallel import make_mesh

pytestmark = pytest.mark.slow  # of tools and records

ALL_ROWS = [
    pytest.param(study, row, id=f"{name}-{row.folder}")
    for name, study in STUDIES.items()
    for row in study.rows
]


def config_of(command):
    """The config of a command, as main.py reads it."""
    values, words = (
        flags.FlagValues(),
        ["main.py", *(word for word in command if word.startswith("--config"))],
    )
    with mock.patch("sys.argv", words):  # where config_flags looks for fields
        config_flags.DEFINE_config_file("config", None, "", flag_values=values, lock_config=True)
        values(words)
    return values.config


@pytest.mark.parametrize(("study", "row"), ALL_ROWS)
def test_commands_train_what_the_rows_say(study: Study, row: Row) -> None:
    config = config_of(shlex.split(shlex.join(study.command(row))))
    found = dict(flat_items(config))
    for field, value in row.settings.items():
        assert found[field] == value
    facts = Facts((32, 32, 3), 10, 6000, (0.5,) * 3, (0.25,) * 3)
    program = make_program(config, make_parts(config, make_mesh(1)), facts)
    points = grid(config, parse_axes(study.sweep, config))
    assert len({point.config.seed for point in points}) >= (1 if study.swept() else 3)
    for point in points:
        check_numbers(point.config)
        make_settings(point.config, facts, program.schedule)


@pytest.mark.parametrize("name", [name for name in STUDIES if name.startswith(("fashion", "cifar"))])
def test_methods_differ_in_what_they_change_and_nothing_else(name: str) -> None:
    study = STUDIES[name]
    base = dict(flat_items(protocol.get_config(name)))
    for row in study.rows:
        found = dict(flat_items(config_of(study.command(row))))
        assert {field for field in base if found[field] != base[field]} == set(METHODS[row.label])


def test_a_protocol_that_is_not_there_is_named() -> None:
    for name in ("", "cifar10", "cifar10_large", "mnist_reduced"):
        with pytest.raises(UserError, match=f"the protocol '{name}', expected one of fashion_mnist_resnet18"):
            protocol.get_config(name)


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
            "curve": [{"step": step, "epoch": step - 1, "validation_knn": 0.1 * step} for step in (1, 2)],
        }
        for seed, value in enumerate(knn)
    ]
    return {"label": label, "command": f"python main.py {label}", "runs": runs}


def swept(label, field, accuracies):
    """A row with runs of two seeds at each value of a field."""
    rows = [row_of(label, knn, **{field: value}) for value, knn in accuracies.items()]
    return rows[0] | {"runs": [run for row in rows for run in row["runs"]]}


def record_of(*rows):
    return {
        "study": "cifar10_reduced",
        "command": "python -m benchmarks.accuracy --study=cifar10_reduced",
        "reduced": True,
        "about": "All alike.",
        "date": "2026-01-01",
        "machine": {
            "device": "CPU",
            "processor": "one",
            "cores": 2,
            "versions": {"jax": "1.2.3", "flax": "3.2.1"},
        },
        "devices": 1,
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
    assert "2026-01-01; 1 x CPU (one), 2 cores, jax 1.2.3, flax 3.2.1." in text


def test_a_metric_of_some_runs_has_a_column() -> None:
    classifier = row_of("cross-entropy", [0.5])
    classifier["runs"][0]["metrics"]["classifier"] = 0.6
    text = page(record_of(row_of("TCL", [0.4]), classifier))
    assert "| kNN, top-1, % | trained classifier, top-1, % |" in text
    assert "| TCL | 0 | 50.00 | 40.00 | - |" in text
    assert "| cross-entropy | 0 | 50.00 | 50.00 | 60.00 |" in text


def test_studies_of_methods_have_curves_and_studies_of_settings_what_came_of_them() -> None:
    methods = record_of(row_of("TCL", [0.4, 0.5]), row_of("SupCon", [0.4]))
    assert list(pictures(methods)) == ["curves"]
    rates = {0.1: [0.4, 0.5], 0.2: [0.3, 0.3]}
    found = [swept(label, "train.learning_rate", rates) for label in ("TCL", "SupCon")]
    assert [group.label for row in found for group in groups_of(row)] == [
        "TCL, train.learning_rate=0.1",
        "TCL, train.learning_rate=0.2",
        "SupCon, train.learning_rate=0.1",
        "SupCon, train.learning_rate=0.2",
    ]
    assert list(pictures(record_of(*found))) == ["settings"]
    pairs = [swept("TCL", "loss.k1", rates), swept("TCL", "loss.k1", rates)]
    for run in pairs[1]["runs"]:
        run["config"]["loss.k2"] = 5.0
    maps = pictures(record_of(pairs[0] | {"runs": pairs[0]["runs"] + pairs[1]["runs"]}))
    assert list(maps) == ["heat_map_1", "heat_map_2"]


def test_settings_are_judged_by_held_out_images_at_the_end() -> None:
    found = swept("TCL", "train.learning_rate", {0.1: [0.41, 0.41], 0.2: [0.3, 0.3]})
    for run, accuracy in zip(found["runs"], (0.36, 0.38), strict=False):
        run["curve"][-1]["validation_knn"] = accuracy
    found["runs"][0]["curve"].append({"step": 3, "epoch": 2})  # without held-out images
    text = page(record_of(found))
    assert "| TCL, train.learning_rate=0.1 | 0, 1 | 37.00 ± 1.41 | 50.00 ± 0.00 | 41.00 ± 0.00 |" in text
    assert "learning rate 0.1, 0.2, views" in text


def test_configs_of_the_studies_are_files() -> None:
    for study in STUDIES.values():
        importlib.import_module(f"configs.{study.config.partition('.')[0]}")
