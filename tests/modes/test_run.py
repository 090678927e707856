"""A run from end to end: trained, continued, complete, evaluated again."""

import functools
import json
import math

import jax
import numpy as np
import pytest

from configs import digits_tcl
from tcl_jax.errors import UserError
from tcl_jax.modes import evaluate, experiment, train
from tcl_jax.modes.workdir import Workdir
from tcl_jax.report.metrics_log import read_metrics
from tcl_jax.train.checkpoint import Checkpoints


def small_config(tmp_path_factory):
    config = digits_tcl.get_config()
    config.data.data_dir = str(tmp_path_factory.getbasetemp() / "data")
    config.data.train_split = "train[:160]"
    config.data.test_split = "test[:100]"
    config.model.width = 2
    config.train.update(batch_size=32, epochs=3, warmup_epochs=0)
    config.probe.update(epochs=2, batch_size=32)
    config.checkpoint.every_epochs = 1
    config.log.every_steps = 2
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return small_config(tmp_path_factory)


@pytest.fixture(scope="module", autouse=True)
def compile_once():
    """All runs of this file share the parts of one experiment: its compiled step is most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        built = functools.cache(lambda text: experiment.build_experiment(digits_tcl_from(text)))
        for mode in (train, evaluate):
            patch.setattr(mode, "build_experiment", lambda config: built(config.to_json()))
        yield


def digits_tcl_from(text):
    config = digits_tcl.get_config()
    with config.unlocked():
        config.update(json.loads(text))
    return config


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """A run that was never interrupted."""
    workdir = Workdir(str(tmp_path_factory.mktemp("finished")))
    train.run(config, workdir, "digits_tcl")
    return workdir


def test_results_hold_the_figures_of_the_run(finished, config):
    results = finished.read_results()
    assert results["config_name"] == "digits_tcl"
    assert results["dataset"] == "digits"
    assert results["loss"] == "tcl"
    for evaluation in ("linear_probe", "knn"):
        top1 = results[evaluation]["top1"]
        assert 0 <= top1 <= 1
        # Every one of the 100 test images counts, and none twice.
        assert top1 * 100 == pytest.approx(round(top1 * 100))
    assert results["knn"]["top1"] > 0.2  # chance is 0.1
    records = read_metrics(finished.metrics)
    last = [r for r in records if r["epoch"] == 2]
    assert results["final_train_loss"] == pytest.approx(sum(r["loss"] * r["steps"] for r in last) / 5)
    assert len(results["params_sha256"]) == 64
    assert results["devices"] == {"platform": "cpu", "kind": "cpu", "count": 8}
    assert results["versions"]["jax"]
    views = 3 * 5 * 32 * 2
    assert results["views_per_second"] == pytest.approx(
        views / (results["train_seconds"] - results["compile_seconds"])
    )


def test_curve_covers_every_step_once(finished):
    records = read_metrics(finished.metrics)
    assert [r["step"] for r in records] == [2, 4, 5, 7, 9, 10, 12, 14, 15]
    assert [r["steps"] for r in records] == [2, 2, 1] * 3
    assert all(math.isfinite(r["loss"]) for r in records)
    assert records[-1]["loss"] < records[0]["loss"]
    assert all(r["learning_rate"] > 0 and r["views_per_second"] > 0 for r in records)


def test_a_run_interrupted_between_checkpoints_ends_as_if_it_never_had(
    finished, config, tmp_path, monkeypatch
):
    class Interrupted(Exception):
        pass

    save = Checkpoints.save

    def save_once(self, state, position):
        save(self, state, position)
        if position.epoch == 1:
            raise Interrupted

    workdir = Workdir(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_once)
        with pytest.raises(Interrupted):
            train.run(config, workdir, "digits_tcl")
    assert workdir.read_results() is None
    train.run(config, workdir, "digits_tcl")

    ours, undisturbed = workdir.read_results(), finished.read_results()
    for figure in ("params_sha256", "final_train_loss", "linear_probe", "knn", "epochs"):
        assert ours[figure] == undisturbed[figure], figure
    curves = [[(r["step"], r["loss"]) for r in read_metrics(w.metrics)] for w in (workdir, finished)]
    assert curves[0] == curves[1]


def test_a_complete_run_says_so_and_stops(finished, config, capsys, monkeypatch):
    monkeypatch.setattr(train, "build_experiment", None)  # nothing is loaded and nothing compiled
    before = finished.results.read_text()
    train.run(config, finished, "digits_tcl")
    assert "is complete" in capsys.readouterr().out
    assert finished.results.read_text() == before


def test_evaluating_again_gives_the_same_figures(finished, config, capsys):
    before = finished.read_results()
    evaluate.run(config, finished, "digits_tcl")
    table = capsys.readouterr().out
    assert finished.read_results() == before
    for shown in ("digits", "tcl", f"{before['linear_probe']['top1']:.4f}", str(finished.path)):
        assert shown in table


def test_a_run_compiles_its_step_once(finished, config):
    assert train.build_experiment(config).step._cache_size() == 1


def test_evaluating_without_a_checkpoint_is_refused(config, tmp_path):
    workdir = Workdir(str(tmp_path))
    workdir.claim("digits_tcl", config)
    with pytest.raises(UserError, match="has no checkpoint yet"):
        evaluate.run(config, workdir, "digits_tcl")


def test_evaluation_leaves_the_state_as_it_is(finished, config):
    parts = train.build_experiment(config)
    with Checkpoints(finished.checkpoints) as checkpoints:
        state, _ = checkpoints.restore_latest(parts.initial_state(), parts.mesh)
    copy = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    evaluate.evaluate(parts, state)
    for before, after in zip(copy, jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(before, after)
