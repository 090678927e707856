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
    assert measure(lambda features: np.float32(7.5), LABELS, AVAILABLE)[:2] == (7.5, None)
    assert measure(lambda: float("nan"), LABELS, AVAILABLE)[:2] == (None, None)
    assert measure(lambda: 3, LABELS, AVAILABLE)[:2] == (3.0, None)


@pytest.mark.parametrize("answer", [np.zeros(4), np.zeros(3, int), np.zeros((4, 1), int), "0.5", None])
def test_another_answer_is_refused(answer):
    with pytest.raises(UserError, match=r"The metric .* makes .*, expected a number, or 4 predicted classes"):
        measure(lambda: answer, LABELS, AVAILABLE)


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
