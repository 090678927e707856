"""A run from end to end: trained, continued, complete, evaluated again."""

import dataclasses
import json
import math
import os
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest

from configs import digits_tcl
from tcl_jax.data import Split, load_dataset
from tcl_jax.data.lazy import LazyImages
from tcl_jax.errors import Interrupted, RunFailed, UserError
from tcl_jax.evaluate import evaluate as evaluate_encoder
from tcl_jax.evaluate import extract_features, knn_predict
from tcl_jax.experiment.data import Data
from tcl_jax.modes import evaluate, train
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.sweep_step import OneByOne
from tests.modes.tiny import copy_of, tiny_config

# In one process, so that two do not both train the undisturbed run.
pytestmark = [pytest.mark.xdist_group("run"), pytest.mark.usefixtures("shared_parts", "without_pages")]


@pytest.fixture(scope="module")
def config(data_dir):
    return copy_of(tiny_config(data_dir), evaluation__metrics=digits_tcl.get_config().evaluation.metrics)


@pytest.fixture(scope="module")
def finished(config, shared_parts, without_pages, tmp_path_factory):
    """A run that was never interrupted."""
    workdir = Workdir(str(tmp_path_factory.mktemp("finished")))
    train.run(config, workdir, "digits_tcl")
    return workdir


def test_results_hold_the_numbers_of_the_run(finished, config):
    results = finished.read_results()
    assert results["config_name"] == "digits_tcl"
    assert results["dataset"] == "digits"
    assert results["loss"] == "tcl"
    assert list(results["metrics"]) == ["linear_probe", "logistic_regression", "knn"]
    for value in results["metrics"].values():
        assert 0 <= value <= 1
        # Every one of the 100 test images counts, and none twice.
        assert value * 100 == pytest.approx(round(value * 100))
    assert results["metrics"]["knn"] > 0.2  # chance is 0.1
    assert len(results["probe_losses"]) == config.probe.epochs
    records = curve_of(finished)
    last = [r for r in records if r["epoch"] == 2]
    assert results["final_train_loss"] == pytest.approx(sum(r["loss"] * r["steps"] for r in last) / 5)
    assert len(results["params_sha256"]) == 64
    assert results["devices"] == {"platform": "cpu", "kind": "cpu", "count": 8}
    assert results["versions"]["jax"]
    views = 3 * 5 * 32 * 2
    assert results["views_per_second"] == pytest.approx(
        views / (results["train_seconds"] - results["compile_seconds"] - results["validation_seconds"])
    )
    assert results["validation_seconds"] > 0


def curve_of(workdir):
    return [record for record in read_metrics(workdir.metrics) if "loss" in record]


def accuracies_of(workdir):
    return [record for record in read_metrics(workdir.metrics) if "validation_knn" in record]


def test_curve_covers_every_step_once(finished):
    records = curve_of(finished)
    assert [r["step"] for r in records] == [2, 4, 5, 7, 9, 10, 12, 14, 15]
    assert [r["steps"] for r in records] == [2, 2, 1] * 3
    assert all(math.isfinite(r["loss"]) for r in records)
    assert records[-1]["loss"] < records[0]["loss"]
    assert all(r["learning_rate"] > 0 and r["views_per_second"] > 0 for r in records)
    assert all(0 < r["data_seconds"] < r["steps"] * 10 for r in records)


def test_held_out_images_have_an_accuracy_with_every_checkpoint(finished, config):
    records = accuracies_of(finished)
    assert [(r["step"], r["epoch"]) for r in records] == [(5, 0), (10, 1), (15, 2)]
    parts = train.build_experiment(config)
    with Checkpoints(finished.checkpoints) as checkpoints:
        state, _ = checkpoints.restore_latest(parts.program.state_shapes(), parts.mesh)
    held_out, bank = (
        Split(parts.dataset.train.images[part], parts.dataset.train.labels[part])
        for part in (parts.settings.split.validation, parts.settings.split.bank)
    )
    assert (len(held_out.labels), len(bank.labels)) == (40, 160)
    queries, others = (
        extract_features(parts.program.encode, state.variables, split, batch_size=32, mesh=parts.mesh)
        for split in (held_out, bank)
    )
    predicted = knn_predict(queries, others, bank.labels, num_classes=10)
    assert records[-1]["validation_knn"] == np.mean(predicted == held_out.labels)
    assert parts.program.encode._cache_size() == 1


def test_results_name_the_best_checkpoint(finished):
    best = max(accuracies_of(finished), key=lambda record: (record["validation_knn"], record["step"]))
    expected = {"step": best["step"], "metric": "knn", "value": best["validation_knn"]}
    assert finished.read_results()["best"] == expected


def test_a_run_interrupted_between_checkpoints_ends_as_if_it_never_had(
    finished, config, tmp_path, monkeypatch
):
    class Interrupted(Exception):
        pass

    save = Checkpoints.save

    def save_once(self, state, position, validation_knn):
        save(self, state, position, validation_knn)
        if position.epoch == 1:
            raise Interrupted

    workdir = Workdir(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_once)
        with pytest.raises(Interrupted):
            train.run(config, workdir, "digits_tcl")
    assert workdir.read_results() is None
    train.run(config, workdir, "digits_tcl")

    assert_same_end(workdir, finished)
    curves = [[(r["step"], r["loss"]) for r in curve_of(w)] for w in (workdir, finished)]
    assert curves[0] == curves[1]


def assert_same_end(workdir, undisturbed):
    """Parameters and evaluation to the last bit; the curve's last mean up to the grouping of its terms."""
    ours, theirs = workdir.read_results(), undisturbed.read_results()
    for key in ("params_sha256", "metrics", "probe_losses", "epochs", "step", "best"):
        assert ours[key] == theirs[key], key
    assert ours["final_train_loss"] == pytest.approx(theirs["final_train_loss"], rel=1e-12)
    assert accuracies_of(workdir) == accuracies_of(undisturbed)


@pytest.mark.slow
def test_a_run_whose_images_stay_on_disk_is_the_same_run(finished, config, tmp_path, monkeypatch):
    parts = train.build_experiment(config)
    names = ("data_dir", "train_split", "test_split")
    streamed = load_dataset(config.data.name, streaming="yes", **{name: config.data[name] for name in names})
    assert isinstance(streamed.train.images, LazyImages)
    read = dataclasses.replace(parts, data=Data(streamed, streamed))
    monkeypatch.setattr(train, "build_experiment", lambda *_, **__: read)
    workdir = Workdir(str(tmp_path))
    train.run(config, workdir, "digits_tcl")
    assert_same_end(workdir, finished)


def test_a_signal_in_the_middle_of_an_epoch_loses_no_step(finished, config, tmp_path, monkeypatch):
    done, number = [], signal.SIGTERM

    def step_and_signal(step):
        def wrapped(*arguments):
            done.append(1)
            if len(done) == 8:  # of 15 steps, 5 in an epoch, 2 in a record of the curve
                os.kill(os.getpid(), number)
            return step(*arguments)

        return wrapped

    workdir, before = Workdir(str(tmp_path)), signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(train, "OneByOne", lambda step: OneByOne(step_and_signal(step)))
        with pytest.raises(Interrupted, match=f"Stopped by {number.name} after step 8, which is saved"):
            train.run(config, workdir, "digits_tcl")
        assert signal.getsignal(number) == before
        train.run(config, workdir, "digits_tcl")
    assert len(done) == 15
    assert sum(r["steps"] for r in curve_of(workdir)) == 15
    assert_same_end(workdir, finished)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(finished, config, tmp_path, capsys):
    workdir = Workdir(str(tmp_path / "run"))
    shutil.copytree(finished.path, workdir.path)
    workdir.results.unlink()
    for path in pathlib.Path(workdir.checkpoints / "15" / "model").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    train.run(config, workdir, "digits_tcl")
    assert "The checkpoint of step 15 is damaged" in capsys.readouterr().out
    assert_same_end(workdir, finished)


def test_where_no_checkpoint_can_be_read_the_run_fails_with_one_sentence(finished, config, tmp_path):
    workdir = Workdir(str(tmp_path / "run"))
    shutil.copytree(finished.path, workdir.path)
    workdir.results.unlink()
    for path in pathlib.Path(workdir.checkpoints).glob("*/training/**/*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(RunFailed, match=r"None of the [23] checkpoints in .* can be read"):
        train.run(config, workdir, "digits_tcl")


@pytest.mark.parametrize("what", ["loss", "parameters"])
def test_what_is_not_finite_is_never_saved(config, tmp_path, monkeypatch, what):
    def broken(step):
        def wrapped(state, *arguments):
            state, metrics = step(state, *arguments)
            if int(state.step) > 7 and what == "loss":
                metrics = {"loss": metrics["loss"] * np.nan}
            if int(state.step) == 10 and what == "parameters":  # the last of an epoch: no loss shows it
                state = state._replace(params=jax.tree.map(lambda p: p * np.inf, state.params))
            return state, metrics

        return wrapped

    workdir = Workdir(str(tmp_path))
    monkeypatch.setattr(train, "OneByOne", lambda step: OneByOne(broken(step)))
    sentence = r"became (nan|-?inf) at step 8; the last good checkpoint is that of step 5: try a smaller"
    if what == "parameters":
        sentence = "parameters are not finite at step 10"
    with pytest.raises(RunFailed, match=sentence):
        train.run(config, workdir, "digits_tcl")
    assert [path.name for path in workdir.checkpoints.iterdir()] == ["5"]
    assert all(math.isfinite(r["loss"]) for r in curve_of(workdir))
    assert [r["step"] for r in accuracies_of(workdir)] == [5]
    assert workdir.read_results() is None


def test_a_complete_run_says_so_and_stops(finished, config, capsys, monkeypatch):
    monkeypatch.setattr(train, "build_experiment", None)  # nothing is loaded and nothing compiled
    before = finished.results.read_text()
    train.run(config, finished, "digits_tcl")
    assert "is complete" in capsys.readouterr().out
    assert finished.results.read_text() == before


def test_evaluating_again_gives_the_same_results(finished, config, capsys):
    before = finished.read_results()
    evaluate.run(config, finished, "digits_tcl")
    table = capsys.readouterr().out
    assert finished.read_results() == before
    for shown in ("digits", "tcl", f"{before['metrics']['linear_probe']:.4f}", str(finished.path)):
        assert shown in table


@pytest.mark.slow
def test_evaluating_a_stopped_run_does_not_make_it_complete(finished, config, tmp_path):
    workdir = Workdir(str(tmp_path / "run"))
    shutil.copytree(finished.path, workdir.path)
    shutil.rmtree(workdir.checkpoints / "15")
    evaluate.run(config, workdir, "digits_tcl")
    assert workdir.read_results()["epochs"] == 2
    train.run(config, workdir, "digits_tcl")
    assert_same_end(workdir, finished)


@pytest.mark.slow
def test_a_complete_run_is_evaluated_again_for_another_probe(finished, config, tmp_path):
    workdir = Workdir(str(tmp_path / "run"))
    shutil.copytree(finished.path, workdir.path)
    changed = copy_of(config, probe__epochs=20, probe__learning_rate=1.0)
    train.run(changed, workdir, "digits_tcl")
    ours, before = workdir.read_results(), finished.read_results()
    assert ours["probe_losses"] != before["probe_losses"]
    assert ours["params_sha256"] == before["params_sha256"]
    assert workdir.read_config()[1].probe.epochs == 20


def test_a_run_compiles_its_step_once(finished, config):
    assert train.build_experiment(config).program.step._cache_size() == 1


def with_best(finished, tmp_path, step):
    """A copy of the run in which the checkpoint of an earlier step is the best."""
    workdir = Workdir(str(tmp_path / "run"))
    shutil.copytree(finished.path, workdir.path)
    (workdir.checkpoints / str(step) / "metrics" / "metrics").write_text('{"validation": 2.0}')
    return workdir


def test_the_best_checkpoint_is_evaluated_beside_the_latest(finished, config, tmp_path, capsys):
    workdir = with_best(finished, tmp_path, 10)
    before = workdir.results.read_text()
    evaluate.run(config, workdir, "digits_tcl", checkpoint="best")
    table = capsys.readouterr().out
    assert workdir.results.read_text() == before
    best = json.loads(workdir.results_best.read_text())
    assert (best["checkpoint"], best["step"], best["epochs"]) == ("best", 10, 2)
    assert best["best"] == {"step": 10, "metric": "knn", "value": 2.0}
    losses = [r["loss"] * r["steps"] for r in curve_of(workdir) if r["epoch"] == 1]
    assert best["final_train_loss"] == pytest.approx(sum(losses) / 5)
    assert best["params_sha256"] != finished.read_results()["params_sha256"]
    assert "the best checkpoint, step 10" in table
    assert "kNN 2.0000 of held-out images, step 10" in table


@pytest.mark.slow
def test_a_run_that_was_only_evaluated_at_its_best_is_not_complete(finished, config, tmp_path, monkeypatch):
    workdir = with_best(finished, tmp_path, 15)
    workdir.results.unlink()
    evaluate.run(config, workdir, "digits_tcl", checkpoint="best")
    assert workdir.read_results() is None
    train.run(config, workdir, "digits_tcl")
    ours = workdir.read_results()
    assert (ours["checkpoint"], ours["metrics"]) == ("latest", finished.read_results()["metrics"])


@pytest.mark.slow
def test_without_held_out_images_there_is_no_accuracy_and_no_best(config, tmp_path, capsys):
    changed = copy_of(config, data__train_split="train[:64]", validation__images=0, train__epochs=1)
    workdir = Workdir(str(tmp_path))
    train.run(changed, workdir, "digits_tcl")
    assert "best" not in capsys.readouterr().out
    assert accuracies_of(workdir) == []
    assert workdir.read_results()["best"] is None
    with pytest.raises(UserError, match=r"has no best checkpoint, as none .* --checkpoint=latest"):
        evaluate.run(changed, workdir, "digits_tcl", checkpoint="best")
    assert not workdir.results_best.exists()


def test_evaluating_without_a_checkpoint_is_refused(config, tmp_path):
    workdir = Workdir(str(tmp_path))
    workdir.claim("digits_tcl", config)
    with pytest.raises(UserError, match="has no checkpoint yet"):
        evaluate.run(config, workdir, "digits_tcl")


def test_evaluation_leaves_the_state_as_it_is(finished, config):
    parts = train.build_experiment(config)
    with Checkpoints(finished.checkpoints) as checkpoints:
        state, _ = checkpoints.restore_latest(parts.program.state_shapes(), parts.mesh)
    copy = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    evaluate_encoder(parts.evaluator, state.evaluated)
    for before, after in zip(copy, jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(before, after)
