"""The studies behind docs/reproduction.md: their commands are understood, and each run is made and recorded once."""

import importlib
import json
import shlex
import subprocess
from unittest import mock

import pytest
from absl import flags
from ml_collections import config_flags

from benchmarks import accuracy, accuracy_record, results
from benchmarks.studies import METHODS, STUDIES, Row, Study
from configs import protocol
from tcl_jax.errors import UserError
from tcl_jax.experiment.grid import grid, parse_axes
from tcl_jax.experiment.parts import check_numbers, make_parts
from tcl_jax.experiment.program import Facts, make_program, make_settings
from tcl_jax.fields import flat_items
from tcl_jax.parallel import make_mesh
from tcl_jax.run.workdir import Workdir

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
    runs = [run for run in study.runs() if run.row is row]
    assert [run.point.name for run in runs] == [point.name for point in points]
    for point, run in zip(points, runs, strict=True):
        check_numbers(point.config)
        make_settings(point.config, facts, program.schedule)
        alone = config_of(shlex.split(shlex.join(study.command(row, run.point))))
        assert alone == point.config == run.point.config


@pytest.mark.parametrize(
    "name", [name for name, study in STUDIES.items() if study.config == f"protocol.py:{name}"]
)
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


STUDY = Study(
    "digits_tcl.py",
    [Row("TCL", "tcl", {}), Row("SupCon", "supcon", {"loss.name": "supcon", "train.learning_rate": 0.25})],
    ("train.learning_rate=0.1,0.2", "seed=0,1"),
    "Both alike.",
    reduced=False,
)


@pytest.fixture
def study(monkeypatch, tmp_path):
    """Makes the runs of STUDY; trainings leave what a run leaves, unless their command fails with the code given."""
    monkeypatch.setitem(STUDIES, "of_this_test", STUDY)
    here = {"device": "NVIDIA H200", "processor": "one", "cores": 2, "versions": {}}
    monkeypatch.setattr("benchmarks.machine.describe_elsewhere", lambda: here)
    values = flags.FlagValues()
    holders = {
        name: flags.DEFINE_string(name, str(tmp_path / name), "", flag_values=values)
        for name in ("output", "runs", "data_dir")
    }
    holders["study"] = flags.DEFINE_string("study", "of_this_test", "", flag_values=values)
    values(["accuracy"])
    monkeypatch.setattr("benchmarks.results.OUTPUT", holders["output"])
    monkeypatch.setattr("benchmarks.accuracy.STUDY", holders["study"])
    for name in ("runs", "data_dir"):
        monkeypatch.setattr(f"benchmarks.folders.{name.upper()}", holders[name])

    def make(codes=None, *, during_first=lambda: None, name="of_this_test"):
        """Names of the runs whose command was started; something else may happen while the first one trains."""
        started = []
        values["study"].value = name

        def run(command, check):
            workdir = Workdir(
                next(w.removeprefix("--workdir=") for w in command if w.startswith("--workdir="))
            )
            started.append(f"{workdir.path.parent.name}/{workdir.path.name}")
            config = config_of(command[1:])
            if len(started) == 1:
                during_first()
            code = (codes or {}).get(started[-1], 0)
            if not code:
                workdir.claim("digits_tcl", config)
                workdir.write_results(results_of_run(100.0 * len(started)), "latest")
            return subprocess.CompletedProcess(command, code)

        monkeypatch.setattr("subprocess.run", run)
        try:
            accuracy.main([])
        except SystemExit as error:
            return started, error.code
        return started, 0

    return make


def results_of_run(seconds):
    return {
        "metrics": {"knn": 0.5},
        "train_seconds": seconds,
        "epochs": 60,
        "config_name": "digits_tcl",
        "devices": {"count": 1},
        "versions": {"jax": "1.2.3", "flax": "3.2.1"},
    }


ORDER = [
    f"{method}/learning_rate={rate}_seed={seed}"
    for seed in (0, 1)
    for rate in (0.1, 0.2)
    for method in ("tcl", "supcon")
]


def test_every_finished_run_is_recorded_at_once_and_never_made_again(study, tmp_path, capsys) -> None:
    record = tmp_path / "output" / "accuracy_of_this_test_nvidia-h200.json"
    assert study({ORDER[3]: 143}) == (ORDER[:4], 143)  # stopped: what is finished is kept
    found = json.loads(record.read_text())
    assert [[run["name"] for run in row["runs"]] for row in found["rows"]] == [
        ["learning_rate=0.1_seed=0", "learning_rate=0.2_seed=0"],
        ["learning_rate=0.1_seed=0"],
    ]
    assert len(found["missing"]) == 5
    assert (
        "**Not finished.** Missing: SupCon, learning_rate=0.2_seed=0; TCL"
        in record.with_suffix(".md").read_text()
    )
    out = capsys.readouterr().out
    assert "8 of 8 runs are missing; how long they take is known when one is finished" in out
    # The means of each row's finished runs: four of TCL are two at 200 s on average, and three of SupCon at 200.
    assert "5 of 8 runs are missing: about 16 min 40 s of training" in out
    # Seeds are complete in all rows before the next begins, and a run that failed keeps none of the others from it.
    assert study({ORDER[4]: 1}) == (
        ORDER[3:],
        "error: These runs failed: TCL, learning_rate=0.1_seed=1. Repeat the command to try them again.",
    )
    assert study() == ([ORDER[4]], 0)
    assert study() == ([], 0)
    found = json.loads(record.read_text())
    for row in found["rows"]:
        assert [run["name"] for run in row["runs"]] == [point.name for point in STUDY.points(STUDY.rows[0])]
    assert not found["missing"]
    assert "Not finished" not in record.with_suffix(".md").read_text()


def test_commands_side_by_side_make_each_run_once(study, tmp_path, capsys) -> None:
    assert study(during_first=lambda: accuracy.main([])) == (ORDER, 0)
    assert "TCL, learning_rate=0.1_seed=0: another command makes it." in capsys.readouterr().out
    (record,) = (tmp_path / "output").glob("*.json")
    assert json.loads(record.read_text())["missing"] == []


def test_a_wrong_command_ends_the_study(study) -> None:
    assert study({ORDER[0]: 2}) == (ORDER[:1], 2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda run: run["config"].update({"loss.k1": 1.0}), r"loss.k1 \(1.0 there, 5000.0 now\)"),
        (lambda run: run["config"].pop("train.epochs"), r"train.epochs \(100 there, 60 now\)"),
        (lambda run: run["config"].update({"loss.of_old": 1}), r"loss.of_old \(1 there, 'absent' now\)"),
        (lambda run: run.update(name="learning_rate=0.3_seed=0"), "which the study does not have"),
        (lambda run: run.clear(), "is damaged"),
    ],
)
def test_runs_of_another_study_are_not_mixed_with_those_of_this(study, tmp_path, change, named) -> None:
    study({ORDER[1]: 143})
    (record,) = (tmp_path / "output").glob("*.json")
    found = json.loads(record.read_text())
    change(found["rows"][0]["runs"][0])
    record.write_text(json.dumps(found))
    with pytest.raises(SystemExit, match=named):
        accuracy_record.read_record(record, "of_this_test", STUDY)


def test_where_data_are_and_fields_that_an_old_record_does_not_know_do_not_count(study, tmp_path) -> None:
    study({ORDER[1]: 143})
    (record,) = (tmp_path / "output").glob("*.json")
    found = json.loads(record.read_text())
    config = found["rows"][0]["runs"][0]["config"]
    assert "data.data_dir" not in config
    config |= {"checkpoint.every_epochs": 7}
    del config["train.clip_norm"]
    record.write_text(json.dumps(found))
    assert study() == (ORDER[1:], 0)


def test_a_study_takes_the_settings_that_are_best_in_its_pilots(study, tmp_path, monkeypatch) -> None:
    """The last pilot is itself a study whose rates another has decided."""
    name, folder, kind = "of_this_test", tmp_path / "output", "nvidia-h200"
    pairs = Study(
        "digits_tcl.py",
        [Row("TCL", "tcl", {}, ((name, "TCL"),))],
        ("loss.k1=9,10", "loss.k2=1,2", "seed=0"),
        "Pairs.",
        reduced=True,
    )
    rows = [
        Row("TCL, best pair", "tcl_best_pair", {"loss.k2": 5.0}, ((name, "TCL"), ("pairs", "TCL"))),
        Row("SupCon", "supcon", {"loss.name": "supcon"}, ((name, "SupCon"),)),
        Row("TCL", "tcl", {"train.epochs": 7}),
    ]
    after = Study("digits_tcl.py", rows, ("seed=0,1",), "Chosen.", reduced=False)
    rates = STUDY._replace(rows=[Row("TCL", "tcl", {}), Row("SupCon", "supcon", {"loss.name": "supcon"})])
    monkeypatch.setitem(STUDIES, name, rates)
    monkeypatch.setitem(STUDIES, "pairs", pairs)

    def end(study_name, accuracies):
        """Have the runs of a record end with these accuracies, from a first checkpoint that is better than all."""
        path = accuracy_record.record_path(study_name, folder, kind)
        record = json.loads(path.read_text())
        for row, of_row in zip(record["rows"], accuracies, strict=True):
            for run, value in zip(row["runs"], of_row, strict=True):
                run["curve"] = [{"step": 1, "validation_knn": 1.0}, {"step": 2, "validation_knn": value}]
        path.write_text(json.dumps(record))

    with pytest.raises(SystemExit, match=r"lacks 8 runs, .* by --study=of_this_test"):
        accuracy_record.decided(after, folder, kind)
    study()
    end(name, [[0.5, 0.4, 0.6, 0.3], [0.2, 0.2, 0.1, 0.1]])  # both seeds of 0.1 first: 0.2 and 0.1 are best
    with pytest.raises(SystemExit, match=r"lacks 4 runs, .* by --study=pairs"):
        accuracy_record.decided(after, folder, kind)
    found = accuracy_record.decided(pairs, folder, kind)
    assert found.rows[0].settings == {"train.learning_rate": 0.2}
    study(name="pairs")
    end("pairs", [[0.1, 0.7, 0.3, 0.2]])
    assert [row.settings for row in accuracy_record.decided(after, folder, kind).rows] == [
        {"loss.k1": 9.0, "loss.k2": 2.0, "train.learning_rate": 0.2},
        {"loss.name": "supcon", "train.learning_rate": 0.1},
        {"train.epochs": 7},
    ]


@pytest.mark.parametrize("path", sorted(results.FOLDER.glob("accuracy_*.json")), ids=lambda path: path.stem)
def test_committed_records_are_of_the_studies_as_they_are(path) -> None:
    record = json.loads(path.read_text())
    study = accuracy_record.decided(STUDIES[record["study"]], results.FOLDER, path.stem.rpartition("_")[2])
    read = accuracy_record.read_record(path, record["study"], study)
    assert read["rows"] == record["rows"]
    assert [run.name for run in accuracy_record.missing(study, read)] == record["missing"]


def test_configs_of_the_studies_are_files() -> None:
    for study in STUDIES.values():
        importlib.import_module(f"configs.{study.config.partition('.')[0]}")
