"""What public functions are given is checked: one sentence names the argument, what it is, and what it should be."""

import numpy as np
import pytest

from tcl_jax.evaluate import knn_predict, logistic_regression_predict
from tcl_jax.evaluate.metrics import METRICS, measure

RNG = np.random.default_rng(0)
BANK, LABELS, QUERIES = RNG.normal(size=(6, 3)), np.array([0, 1, 2, 0, 1, 2]), RNG.normal(size=(4, 3))
NAN, INF = np.where(np.eye(4, 3), np.nan, QUERIES), np.where(np.eye(6, 3), np.inf, BANK)

WRONG = [
    ("bank_labels", [0, 1, 2, 0, 1, 3], "bank_labels must be 0 to 2, got 1 of 6.*first of them 3"),
    ("bank_labels", [0, 1, 2, 0, 1, -1], "bank_labels must be 0 to 2, got 1 of 6.*first of them -1"),
    ("bank_labels", [0, 1, 2], r"bank_labels must be integer \[6\].*int64 \[3\]"),
    ("bank_labels", [0.0] * 6, r"bank_labels must be integer \[6\].*float64"),
    ("bank_labels", ["a"] * 6, r"bank_labels must be integer \[6\]"),
    ("temperature", 0, "temperature must be a finite number above 0"),
    ("temperature", -1.0, "temperature must be a finite number above 0"),
    ("temperature", np.nan, "temperature must be a finite number above 0"),
    ("temperature", np.array(-0.1), "temperature must be a finite number above 0"),
    ("k", 0, "k must be a whole number, 1 or more, got 0"),
    ("k", 2.5, "k must be a whole number, 1 or more, got 2.5"),
    ("num_classes", 0, "num_classes must be a whole number, 1 or more"),
    ("queries", NAN, "queries must be finite, got 3 of 4 rows"),
    ("queries", QUERIES[:, :2], r"queries must be floating \[n, 3\]"),
    ("queries", QUERIES[0], "queries must be floating"),
    ("queries", QUERIES[:0], "queries must have at least one row"),
    ("bank", INF, "bank must be finite, got 3 of 6 rows"),
    ("bank", BANK[:0], "bank must have at least one row"),
    ("bank", BANK.astype(int), "bank must be floating"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_knn(name, value, expected):
    given = dict(queries=QUERIES, bank=BANK, bank_labels=LABELS, num_classes=3, k=2, temperature=0.07)
    knn_predict(**given)
    with pytest.raises(ValueError, match=expected):
        knn_predict(**(given | {name: value}))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("train_labels", [0, 1, 2, 0, 1, 3], "train_labels must be 0 to 2"),
        ("train_features", INF, "train_features must be finite"),
        ("test_features", NAN, "test_features must be finite"),
        ("test_features", QUERIES[:, :2], "test_features must be floating"),
        ("num_classes", 2.0, "num_classes must be a whole number"),
    ],
)
def test_logistic_regression(name, value, expected):
    given = dict(train_features=BANK, train_labels=LABELS, test_features=QUERIES, num_classes=3)
    with pytest.raises(ValueError, match=expected):
        logistic_regression_predict(**(given | {name: value}))


def available(**changed):
    known = dict(features=QUERIES, labels=LABELS[:4], train_features=BANK, train_labels=LABELS, num_classes=3)
    return known | changed


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"features": NAN}, "the features of 3 of the 4 evaluated images are not finite"),
        ({"train_features": INF}, "the features of 3 of the 6 training images are not finite"),
        ({"labels": np.zeros(4, int)}, "the evaluated images are all of one class"),
        ({"train_labels": np.zeros(6, int)}, "the training images are all of one class"),
        ({"train_labels": np.array([0, 1, 2, 0, 1, -1])}, "1 of the 6 training images have no label"),
    ],
)
def test_an_accuracy_that_means_nothing_has_no_value(changed, why):
    arguments = available(**changed)
    assert measure(METRICS["knn"], arguments["labels"], arguments) == (None, None, why)
    assert measure(METRICS["knn"], available()["labels"], available()).value is not None
