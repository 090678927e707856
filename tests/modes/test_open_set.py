"""Training on some of the classes, and retrieving images of the others, of which training has seen nothing."""

import json

import numpy as np
import pytest

from tcl_jax.encoder.load import load_encoder
from tcl_jax.evaluate import retrieval_metrics
from tcl_jax.modes import evaluate, train
from tcl_jax.run.workdir import Workdir
from tests.modes.tiny import copy_of, tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_one_device", "without_pages")]

# As with CUB-200: images of both published splits, divided by class alone.
OPEN_SET = {
    "data__train_split": "train+test",
    "data__test_split": "train+test",
    "data__train_classes": "0:5",
    "data__streaming": "yes",
    "train__epochs": 2,
    "evaluation__metrics": ("linear_probe", "knn", "logistic_regression", "retrieval"),
}


@pytest.fixture(scope="module")
def config(data_dir):
    return copy_of(tiny_config(data_dir), **OPEN_SET)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory, on_one_device, without_pages):
    workdir = Workdir(str(tmp_path_factory.mktemp("run")))
    train.run(config, workdir, "name")
    return workdir


def test_digits_5_to_9_are_retrieved_by_an_encoder_of_digits_0_to_4(finished):
    results = finished.read_results()
    digits = sklearn_digits()
    images, labels = (part[digits[1] >= 5] for part in digits)
    encoder = load_encoder(str(finished.path))
    found = retrieval_metrics(encoder(images), labels)
    expected = {name: value for name, value in found._asdict().items() if name in results["metrics"]}
    assert len(expected) == 6
    none = dict.fromkeys(("linear_probe", "knn", "logistic_regression"))
    assert results["metrics"] == pytest.approx(none | expected, abs=0.01)  # images are in another order
    assert results["metrics"]["recall_at_1"] > 0.5  # by chance 0.2
    assert encoder.class_names == tuple("01234")
    about = json.loads(finished.data.read_text())["data"]
    assert (about["training images"], about["test images"]) == (901, 896)
    assert results["best"]["metric"] == "knn"  # of held-out images of the classes that are trained on


def sklearn_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return images, digits.target


def test_the_run_is_evaluated_again_on_the_same_classes(finished, config, capsys):
    before = finished.read_results()
    evaluate.run(config, finished, "name")
    assert finished.read_results()["metrics"] == before["metrics"]
    assert (
        "Not reported: linear probe, kNN, logistic regression, as no evaluated image is of a class of the training "
        "images."
    ) in capsys.readouterr().out
