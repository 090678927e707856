"""Metrics by name and of the user's own: what they are handed, and what their answers mean."""

import sys

import numpy as np
import pytest

from tcl_jax.errors import UserError
from tcl_jax.evaluate.metrics import METRICS, OF_FEATURES, measure, resolve_metric, resolve_metrics

LABELS = np.array([0, 1, 1, 2], np.int32)
FEATURES = np.eye(4, dtype=np.float32)
AVAILABLE = dict(
    features=FEATURES, labels=LABELS, train_features=FEATURES[:2], train_labels=LABELS[:2], num_classes=3
)
OWN = """
def largest(features, labels):
    return features.max() + labels.max()

def wanting(features, colour):
    return 0

def knn(features):
    return 0.5
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_metric.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_metric", None)


def test_predicted_classes_count_by_the_share_that_is_right():
    found = measure(lambda labels: np.array([0, 1, 0, 0]), LABELS, AVAILABLE)
    assert found.value == 0.5
    np.testing.assert_array_equal(found.predicted, [0, 1, 0, 0])
    assert found.predicted.dtype == np.int32


def test_a_number_is_the_value_and_one_that_is_not_finite_is_none():
    assert measure(lambda features: np.float32(7.5), LABELS, AVAILABLE) == (7.5, None, "")
    assert measure(lambda: float("nan"), LABELS, AVAILABLE) == (None, None, "its value is nan")
    assert measure(lambda: 3, LABELS, AVAILABLE) == (3.0, None, "")


@pytest.mark.parametrize("answer", [np.zeros(4), np.zeros(3, int), np.zeros((4, 1), int), "0.5", None, 1j])
def test_another_answer_is_refused(answer):
    with pytest.raises(UserError, match=r"The metric .* makes .*, expected a number, or 4 predicted classes"):
        measure(lambda: answer, LABELS, AVAILABLE)


@pytest.mark.parametrize("strange", [-1, 3, 2**32])
def test_a_class_that_does_not_exist_is_refused(strange):
    def guess(labels):
        return np.array([0, 1, strange, 2], np.int64)

    with pytest.raises(UserError, match=f"The metric guess predicts class {strange}, expected 0 to 2"):
        measure(guess, LABELS, AVAILABLE)


def with_nan(rows):
    rows = rows.copy()
    rows[1, 0] = np.nan
    return rows


def refused(**_):
    raise AssertionError("a metric is taken that has no meaning")


ONE_CLASS, UNKNOWN = np.full(4, 2, np.int32), np.array([0, -1, -1, 2], np.int32)


@pytest.mark.parametrize("name", ["knn", "logistic_regression", "linear_probe", "classifier"])
@pytest.mark.parametrize(
    ("changed", "why_none"),
    [
        (dict(features=with_nan(FEATURES)), "the features of 1 of the 4 evaluated images are not finite"),
        (
            dict(train_features=np.full((2, 4), np.inf)),
            "the features of 2 of the 2 training images are not finite",
        ),
        (dict(labels=ONE_CLASS), "the evaluated images are all of one class"),
        (dict(train_labels=LABELS[1:3]), "the training images are all of one class"),
        (dict(labels=UNKNOWN), "2 of the 4 evaluated images have no label"),
        (dict(labels=np.full(4, -1)), "4 of the 4 evaluated images have no label"),
    ],
)
def test_an_accuracy_that_means_nothing_is_none_and_says_why(name, changed, why_none):
    probe, logits = {"train_probe": refused}, {"logits": np.eye(4, 3)}
    available = AVAILABLE | probe | logits | changed
    assert measure(METRICS[name], available["labels"], available) == (None, None, why_none)


@pytest.mark.parametrize("name", ["knn", "logistic_regression", "linear_probe"])
def test_nothing_is_learned_from_images_without_labels(name):
    available = AVAILABLE | {"train_probe": refused, "train_labels": np.array([0, -1])}
    expected = (None, None, "1 of the 2 training images have no label")
    assert measure(METRICS[name], LABELS, available) == expected


def test_logits_that_are_not_finite_have_no_accuracy():
    available = AVAILABLE | {"logits": with_nan(np.eye(4, 3))}
    found = measure(METRICS["classifier"], LABELS, available)
    assert found == (None, None, "the logits of 1 of the 4 evaluated images are not finite")


def test_a_number_that_needs_no_labels_is_taken_without_them():
    available = AVAILABLE | {"labels": np.full(4, -1), "train_labels": np.full(2, -1)}
    spread = lambda features, num_classes: features.std()  # noqa: E731
    assert measure(spread, available["labels"], available).value == np.std(FEATURES)
    of_labels = lambda features, labels: 1.0  # noqa: E731
    found = measure(of_labels, available["labels"], available)
    assert found == (None, None, "4 of the 4 evaluated images have no label")


def test_a_metric_of_the_users_own_is_called_by_its_attribute(own):
    name, metric = resolve_metric("own_metric:largest", field="a", available=OF_FEATURES)
    assert name == "largest"
    assert measure(metric, LABELS, AVAILABLE).value == 3
    assert list(resolve_metrics(["knn", "own_metric:largest"], field="a", available=OF_FEATURES)) == [
        "knn",
        "largest",
    ]


def test_knn_is_the_vote_of_the_training_features():
    found = measure(METRICS["knn"], LABELS, AVAILABLE)
    assert list(found.predicted[:2]) == [0, 1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["recall"], r"no 'recall' for validation.metric, expected one of linear_probe, knn, .*my_metric.py"),
        (["linear_probe"], r"validation.metric \('linear_probe'\) names .* needs 'train_probe'"),
        (["own_metric:wanting"], r"needs 'colour', expected .* any of features, labels"),
        (["own_metric:larges"], r"own_metric has no 'larges': did you mean 'largest'\?"),
        (["no_such_module:f"], r"its module cannot be imported \(ModuleNotFoundError"),
        (["knn", "own_metric:knn"], r"two metrics that are called 'knn'"),
    ],
)
def test_what_cannot_be_is_named(own, names, message):
    with pytest.raises(UserError, match=message):
        resolve_metrics(names, field="validation.metric", available=OF_FEATURES)
