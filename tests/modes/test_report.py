"""The report of a run is made after its evaluation, and again from what is left of it, without training anything."""

import dataclasses
import json
import shutil

import fsspec
import numpy as np
import pytest
from etils import epath

from configs import digits_tcl
from tcl_jax.data import Split
from tcl_jax.data.lazy import LazyImages
from tcl_jax.errors import RunFailed, UserError
from tcl_jax.evaluate import Evaluation, evaluation
from tcl_jax.experiment import page
from tcl_jax.experiment.data import Data
from tcl_jax.experiment.opened import Run, open_run
from tcl_jax.experiment.page import shown_views
from tcl_jax.experiment.results import evaluate_run
from tcl_jax.fields import flat_items
from tcl_jax.modes import evaluate, report
from tcl_jax.parallel import replicate
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.metrics_log import MetricsLog
from tcl_jax.run.predictions import pack
from tcl_jax.run.stored import Position
from tcl_jax.run.workdir import ConfigFile, Workdir
from tests.marks import slow
from tests.modes.tiny import built_once, copy_of, tiny_config
from tests.report.pages import Page
from tests.run.test_remote import Bucket

pytestmark = [pytest.mark.xdist_group("report"), pytest.mark.usefixtures("on_one_device")]


@pytest.fixture(scope="module")
def config(data_dir):
    """Of 60 test images, as the page draws each."""
    return copy_of(tiny_config(data_dir), data__test_split="test[:60]", probe__epochs=1)


@pytest.fixture(scope="module")
def parts(config):
    return lambda: built_once(config)


@pytest.fixture(scope="module")
def finished(config, parts, on_one_device, tmp_path_factory):
    """A run that was evaluated after its last checkpoint; its steps, which cost the most time, were not made."""
    workdir = Workdir(str(tmp_path_factory.mktemp("finished")))
    file = ConfigFile("configs/digits_tcl.py", dict(flat_items(digits_tcl.get_config())))
    workdir.claim("digits_tcl", config, config_file=file)
    with Checkpoints(workdir.checkpoints) as checkpoints:
        for epoch, knn in ((2, 0.75), (3, 0.5)):
            step = replicate(np.int32(5 * epoch), parts().mesh)
            state = parts().program.initial_state(0)._replace(step=step)
            checkpoints.save(state, Position(epoch, 9.0), knn)
    with MetricsLog(workdir.metrics, after_step=0) as log:
        for number in range(15):
            record = {"step": number + 1, "epoch": number // 5, "steps": 1, "loss": 3.0 - number / 15}
            log.append(record)
    evaluate.run(config, workdir, "digits_tcl")
    return workdir


@pytest.fixture
def copied(finished, tmp_path):
    workdir = Workdir(str(tmp_path / "run"))
    shutil.copytree(finished.path, workdir.path)
    return workdir


@pytest.fixture
def no_probe(monkeypatch):
    def refused(*arguments, **options):
        raise AssertionError("a linear probe is trained")

    monkeypatch.setattr(evaluation, "linear_probe_logits", refused)


def files_of(workdir):
    return {path.name: path.read_bytes() for path in workdir.report.iterdir()}


def test_evaluation_ends_with_a_page_of_its_results(finished, config):
    files = files_of(finished)
    page, results = Page(files["index.html"].decode()), finished.read_results()
    for value in results["metrics"].values():
        assert f"{value:.4f}" in page.text
    assert f"{results['final_train_loss']:.4f}" in page.text
    assert results["params_sha256"] in page.text
    assert "python main.py --config=configs/digits_tcl.py" in page.text
    assert str(finished.path) in page.text
    assert config.data.train_split in page.text
    assert files.keys() == {
        "index.html",
        "map.png",
        "confusion_linear_probe.png",
        "confusion_knn.png",
    }
    assert not [name for name in files if name.endswith(".partial")]
    data = page.blocks["map-data"]
    for name, evaluated in (("linear probe", "linear_probe"), ("kNN", "knn")):
        right = np.mean(np.array(data["predictions"][name]) == data["labels"])
        assert right == pytest.approx(results["metrics"][evaluated])


@pytest.mark.slow
def test_the_page_is_made_again_byte_for_byte_without_a_probe(copied, config, no_probe, capsys):
    before, results = files_of(copied), copied.results.read_text()
    shutil.rmtree(copied.report)
    report.run(config, copied, "digits_tcl")
    assert capsys.readouterr().out == f"The report is in {copied.report / 'index.html'}\n"
    folder = Page(before["index.html"].decode()).text.split("--workdir=")[1].split()[0]  # stands in the page
    moved = before["index.html"].replace(folder.encode(), str(copied.path).encode())
    now = files_of(copied)
    assert now.keys() == before.keys()
    assert now.pop("index.html") == moved
    assert all(now[name] == before[name] for name in now)
    assert copied.results.read_text() == results


@pytest.mark.parametrize("what", ["missing", *slow("results missing", "damaged", "of other parameters")])
def test_it_is_evaluated_anew_where_its_predictions_are_not_there(copied, config, parts, what):
    before = copied.read_results()
    if what == "missing":
        copied.predictions.unlink()
    elif what == "damaged":
        copied.predictions.write_bytes(b"PK damaged")
    elif what == "of other parameters":
        other, labels = (
            "0" * 64,
            parts().dataset.test.labels,
        )  # as after an evaluation before the last checkpoint
        copied.results.write_text(json.dumps(before | {"params_sha256": other, "metrics": {"knn": 9.0}}))
        predicted = {"linear_probe": labels, "knn": labels}
        copied.predictions.write_bytes(pack(predicted, labels, params_sha256=other))
    else:
        copied.results.unlink()
    shutil.rmtree(copied.report)
    report.run(config, copied, "digits_tcl")
    assert copied.read_results() == before
    assert copied.predictions.read_bytes()[:2] == b"PK"
    assert f"{before['metrics']['knn']:.4f}" in Page(files_of(copied)["index.html"].decode()).text


@pytest.mark.slow
def test_another_probe_is_trained_first(copied, config):
    changed = copy_of(config, probe__learning_rate=0.2)
    copied.results.write_text(json.dumps(copied.read_results() | {"metrics": {"linear_probe": 9.0}}))
    report.run(changed, copied, "digits_tcl")
    assert copied.read_results()["metrics"]["linear_probe"] <= 1


@pytest.mark.slow
def test_another_metric_is_measured_first(copied, config):
    report.run(copy_of(config, evaluation__metrics=("knn",)), copied, "digits_tcl")
    assert list(copied.read_results()["metrics"]) == ["knn"]


def test_evaluating_can_leave_the_page_out(copied, config, parts, capsys):
    before = copied.read_results()
    for path in (copied.results, copied.predictions):
        path.unlink()
    shutil.rmtree(copied.report)
    with open_run("digits_tcl", parts(), copied) as opened:
        evaluate_run(opened, show=False)
    assert not copied.report.exists()
    assert capsys.readouterr().out == ""
    assert copied.read_results() == before
    assert copied.predictions.exists()


def test_the_best_checkpoint_leaves_page_and_predictions_as_they_are(copied, config):
    before = files_of(copied), copied.predictions.read_bytes()
    evaluate.run(config, copied, "digits_tcl", checkpoint="best")
    assert copied.results_best.exists()
    assert (files_of(copied), copied.predictions.read_bytes()) == before


@pytest.mark.slow
def test_a_page_that_cannot_be_written_loses_no_results(copied, config):
    shutil.rmtree(copied.report)
    copied.report.write_text("in the way")
    before = copied.read_results()
    copied.results.unlink()
    with pytest.raises(
        RunFailed, match=r"report cannot be written \(File exists\); the last good checkpoint is"
    ):
        evaluate.run(config, copied, "digits_tcl")
    assert copied.read_results() == before


def test_without_a_run_or_a_checkpoint_it_is_refused(config, tmp_path):
    workdir = Workdir(str(tmp_path / "run"))
    with pytest.raises(UserError, match="does not hold a run"):
        report.run(config, workdir, "digits_tcl")
    assert not workdir.path.exists()
    workdir.claim("digits_tcl", config)
    with pytest.raises(UserError, match="has no checkpoint yet"):
        report.run(config, workdir, "digits_tcl")


@pytest.mark.slow
def test_of_images_on_disk_only_those_shown_are_read_in_remote_storage_too(config, parts, finished):
    for scheme in ("gs", "gcs"):
        fsspec.register_implementation(scheme, Bucket, clobber=True)
    Bucket.store.clear()
    workdir = Workdir("gs://bucket/runs/digits")
    workdir.claim("digits_tcl", config)
    built, asked = parts(), []
    dataset = built.dataset

    def lazy(split):
        def fetch(position):
            asked.append(position)
            return split.images[position]

        return Split(LazyImages(fetch, range(len(split.labels)), split.images.shape[1:]), split.labels)

    streamed = type(dataset)(dataset.name, lazy(dataset.train), lazy(dataset.test), dataset.class_names)
    features = np.random.RandomState(0).randn(260, 8)
    labels = dataset.test.labels
    predictions = {"linear_probe": labels, "knn": labels}
    found = Evaluation(features[:200], features[200:], labels, {"knn": 1.0}, predictions)
    read = dataclasses.replace(built, data=Data(streamed, streamed))
    run = Run("digits_tcl", read, workdir, None, None, Position())
    page.write_page(run, found, finished.read_results())
    assert isinstance(workdir.report, epath.Path)
    shown = Page((workdir.report / "index.html").read_text())
    assert "gs://bucket/runs/digits" in shown.text
    assert len(asked) <= 60 + 8 + 6 * 9  # the map, the views, the neighbours


def test_views_are_those_of_the_training_images(parts):
    columns, names = shown_views(parts(), images=4, epochs=2)
    assert [column.name for column in columns] == ["", "epoch 1", "epoch 2", "epoch 1", "epoch 2"]
    assert len(names) == 4
    assert len(set(names)) == 4
    assert all(column.images.shape == (4, 8, 8, 1) for column in columns)
