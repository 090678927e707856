"""A sweep from end to end: its members are the runs that they would be alone."""

import os
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest

from tcl_jax.errors import Interrupted, UserError
from tcl_jax.modes import sweep, train
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir
from tcl_jax.train import loop
from tcl_jax.train.sweep_step import OneByOne
from tests.modes.tiny import copy_of, tiny_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("sweep"),
    pytest.mark.usefixtures("on_one_device", "without_pages"),
]

AXES = ["loss.k1=10,5000", "seed=0,1"]
NAMES = ["k1=10_seed=0", "k1=10_seed=1", "k1=5000_seed=0", "k1=5000_seed=1"]


@pytest.fixture(scope="module")
def config(data_dir):
    return tiny_config(data_dir, epochs=2)


@pytest.fixture(scope="module")
def swept(config, on_one_device, without_pages, tmp_path_factory):
    """A sweep that was never interrupted."""
    workdir = Workdir(str(tmp_path_factory.mktemp("sweep")))
    sweep.run(config, workdir, "digits_tcl", AXES)
    return workdir


def member(workdir, name):
    return Workdir(str(workdir.path / name))


def outcome(workdir):
    """What a run found, without what it took."""
    results = workdir.read_results()
    names = ("params_sha256", "metrics", "probe_losses", "epochs", "step", "best", "final_train_loss")
    timings = ("views_per_second", "data_seconds")
    records = [{k: v for k, v in r.items() if k not in timings} for r in read_metrics(workdir.metrics)]
    return {name: results[name] for name in names}, records


def test_each_member_is_its_single_run_to_the_last_bit(swept, config, tmp_path):
    alone = copy_of(config, seed=1, loss__k1=10.0)
    workdir = Workdir(str(tmp_path))
    train.run(alone, workdir, "digits_tcl")
    assert outcome(member(swept, "k1=10_seed=1")) == outcome(workdir)


def test_members_differ_by_their_values_and_are_runs_of_their_own(swept, config):
    hashes = [member(swept, name).read_results()["params_sha256"] for name in NAMES]
    assert len(set(hashes)) == 4
    name, own = member(swept, "k1=5000_seed=1").read_config()
    assert name == "digits_tcl"
    assert (own.loss.k1, own.seed, own.train.epochs) == (5000.0, 1, 2)


def test_all_members_compile_one_step(swept, config):
    assert sweep.build_experiment(config).program.step._cache_size() == 1


def test_the_page_compares_the_members(swept):
    page = (swept.path / "report" / "index.html").read_text()
    assert "loss.k1=10" in page
    assert "0, 1" in page  # the seeds of a group
    for name in ("comparison.csv", "comparison.md"):
        assert (swept.path / "report" / name).exists(), name


def test_a_complete_sweep_only_reports(swept, config, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "build_experiment", None)  # nothing is loaded and nothing compiled
    sweep.run(config, swept, "digits_tcl", AXES)
    assert "loss.k1=5000" in capsys.readouterr().out


def test_a_further_value_trains_its_members_alone(swept, config, tmp_path, capsys):
    workdir = Workdir(str(tmp_path / "sweep"))
    shutil.copytree(swept.path, workdir.path)
    before = {name: member(workdir, name).results.read_text() for name in NAMES}
    sweep.run(config, workdir, "digits_tcl", ["loss.k1=10,5000,100", "seed=0,1"])
    assert "Training 2 of the 6 members" in capsys.readouterr().out
    assert before == {name: member(workdir, name).results.read_text() for name in NAMES}
    assert member(workdir, "k1=100_seed=0").read_results()["epochs"] == 2


def test_a_signal_in_the_middle_of_an_epoch_loses_no_step(swept, config, tmp_path, monkeypatch):
    class Signals(OneByOne):
        done = 0

        def __call__(self, *arguments):
            Signals.done += 1
            if Signals.done == 8:  # of 10 steps, 5 in an epoch
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__call__(*arguments)

    workdir = Workdir(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "OneByOne", Signals)
        with pytest.raises(Interrupted, match="Stopped by SIGTERM after step 8, which is saved"):
            sweep.run(config, workdir, "digits_tcl", AXES)
        sweep.run(config, workdir, "digits_tcl", AXES)
    assert Signals.done == 10
    for name in NAMES:
        results = [member(w, name).read_results() for w in (workdir, swept)]
        assert results[0]["params_sha256"] == results[1]["params_sha256"]
        assert results[0]["best"] == results[1]["best"]


@pytest.mark.slow
def test_members_with_a_checkpoint_more_go_back_to_train_with_the_rest(swept, config, tmp_path, capsys):
    workdir = Workdir(str(tmp_path / "sweep"))
    shutil.copytree(swept.path, workdir.path)
    for name in NAMES:
        member(workdir, name).results.unlink()
    for name in NAMES[2:]:
        shutil.rmtree(member(workdir, name).checkpoints / "10")
    sweep.run(config, workdir, "digits_tcl", AXES)
    assert f"Continuing with {', '.join(NAMES)} after step 5" in capsys.readouterr().out
    for name in NAMES:
        assert outcome(member(workdir, name)) == outcome(member(swept, name))


@pytest.mark.slow
def test_members_without_a_common_checkpoint_train_in_groups(swept, config, tmp_path, capsys):
    workdir = Workdir(str(tmp_path / "sweep"))
    shutil.copytree(swept.path, workdir.path)
    shutil.rmtree(member(workdir, NAMES[0]).path)
    behind = member(workdir, NAMES[3])
    behind.results.unlink()
    shutil.rmtree(behind.checkpoints / "10")
    sweep.run(config, workdir, "digits_tcl", AXES)
    assert f"Continuing with {NAMES[3]} after step 5" in capsys.readouterr().out
    for name in NAMES:
        assert outcome(member(workdir, name)) == outcome(member(swept, name))


def test_a_member_that_fails_leaves_the_others_alone(swept, config, tmp_path, monkeypatch, capsys):
    class Breaks(OneByOne):
        def __call__(self, states, batches, hypers):
            states, metrics = super().__call__(states, batches, hypers)
            if int(states[1].step) == 7:
                broken = jax.tree.map(lambda p: p * np.nan, states[1].params)
                states[1] = states[1]._replace(params=broken)
            return states, metrics

    monkeypatch.setattr(sweep, "OneByOne", Breaks)
    workdir = Workdir(str(tmp_path))
    sweep.run(config, workdir, "digits_tcl", AXES)
    out = capsys.readouterr().out
    assert "k1=10_seed=1: The loss became nan at step 8; the last good checkpoint is that of" in out
    assert member(workdir, "k1=10_seed=1").read_results() is None
    assert [p.name for p in member(workdir, "k1=10_seed=1").checkpoints.iterdir()] == ["5"]
    assert "k1=10_seed=1" in (workdir.path / "report" / "index.html").read_text()
    for name in (NAMES[0], *NAMES[2:]):
        assert outcome(member(workdir, name)) == outcome(member(swept, name))


def test_where_all_members_fail_the_sweep_ends_and_says_why(config, tmp_path, monkeypatch, capsys):
    class Breaks(OneByOne):
        def __call__(self, *arguments):
            states, metrics = super().__call__(*arguments)
            return states, [m | {"loss": m["loss"] * np.nan} for m in metrics]

    monkeypatch.setattr(sweep, "OneByOne", Breaks)
    steps = []
    monkeypatch.setattr(loop, "split_batch", counted(loop.split_batch, steps))
    sweep.run(config, Workdir(str(tmp_path)), "digits_tcl", ["loss.k1=10,20"])
    assert len(steps) < 10  # it ends before the second epoch does
    assert "k1=20: The loss became nan" in capsys.readouterr().out


def counted(function, calls):
    def wrapped(*arguments):
        calls.append(1)
        return function(*arguments)

    return wrapped


@pytest.mark.parametrize("complete", [False, True])
def test_a_folder_with_another_run_is_refused(swept, config, tmp_path, complete):
    workdir = Workdir(str(tmp_path / "sweep"))
    shutil.copytree(swept.path, workdir.path)
    if not complete:
        member(workdir, NAMES[0]).results.unlink()
    changed = copy_of(config, train__momentum=0.5)
    with pytest.raises(UserError, match=r"holds a run with another config: train.momentum"):
        sweep.run(changed, workdir, "digits_tcl", AXES)


def test_values_that_cannot_be_are_refused_before_anything_is_written(config, tmp_path):
    with pytest.raises(UserError, match=r"loss.temperature is 0.0, expected a number above 0"):
        sweep.run(config, Workdir(str(tmp_path / "sweep")), "digits_tcl", ["loss.temperature=0.1,0"])
    assert not pathlib.Path(tmp_path / "sweep").exists()
