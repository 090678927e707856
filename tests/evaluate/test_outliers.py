"""The AUROC of outliers against that of scikit-learn, with distances by NumPy."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tcl_jax.evaluate import METRICS, knn_auroc
from tcl_jax.evaluate.metrics import Measured, measure


def reference(inside, train, outside, k):
    """Distances of unit rows to the k-th nearest, in float64."""
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731

    def score(rows):
        distances = np.linalg.norm(unit(rows)[:, None] - unit(train), axis=-1)
        return np.sort(distances, axis=1)[:, min(k, len(train)) - 1]

    truth = np.repeat([0, 1], [len(inside), len(outside)])
    return roc_auc_score(truth, np.concatenate([score(inside), score(outside)]))


def some(width=6):
    rng = np.random.default_rng(0)
    centre = rng.normal(size=width)
    near = lambda count: rng.normal(size=(count, width)) + centre  # noqa: E731
    return near(300), near(80), rng.normal(size=(120, width)) + 0.4 * centre


@pytest.mark.parametrize("k", [1, 5, 50, 80, 500])
def test_it_is_that_of_scikit_learn(k):
    inside, train, outside = some()
    found = knn_auroc(inside, train, outside, k=k)
    assert isinstance(found, float)
    assert found == pytest.approx(reference(inside, train, outside, k), abs=1e-6)
    assert 0.5 < found < 1
    assert knn_auroc(outside, train, inside, k=k) == pytest.approx(1 - found)


def test_ties_count_half():
    rng = np.random.default_rng(1)
    rows = np.eye(4)
    inside, train, outside = (rows[rng.integers(0, n, count)] for n, count in ((3, 40), (3, 9), (4, 50)))
    assert knn_auroc(inside, train, outside, k=2) == pytest.approx(reference(inside, train, outside, 2))
    assert knn_auroc(inside, train, inside, k=2) == 0.5


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_do_not_matter(scale):
    inside, train, outside = some()
    lengths = np.random.default_rng(2).uniform(0.1, 10, (300, 1))
    expected = knn_auroc(inside, train, outside)
    assert knn_auroc(lengths * inside, scale * train, scale * outside) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(outlier_features=np.ones((3, 2))), r"outlier_features must be floating \[n, 6\]"),
        (dict(train_features=np.full((3, 6), np.nan)), "train_features must be finite"),
        (dict(features=np.ones((0, 6))), "features must have at least one row"),
        (dict(k=0), "k must be a whole number, 1 or more"),
    ],
)
def test_what_cannot_be_is_refused(changed, message):
    inside, train, outside = some()
    given = dict(features=inside, train_features=train, outlier_features=outside) | changed
    with pytest.raises(ValueError, match=message):
        knn_auroc(**given)


def test_it_needs_no_labels_and_outliers_that_are_not_finite_concern_it_alone():
    inside, train, outside = some()
    labels = np.arange(300, dtype=np.int32) % 2
    given = dict(
        features=inside, labels=labels, train_features=train, train_labels=labels[:80], num_classes=2
    )
    given["outlier_features"] = outside
    expected = knn_auroc(inside, train, outside)
    unlabelled = given | {"labels": np.full(300, -1), "train_labels": np.full(80, -1)}
    assert measure(METRICS["outlier_auroc"], unlabelled["labels"], unlabelled) == Measured(expected)
    given["outlier_features"] = np.where(np.arange(120)[:, None] < 2, np.inf, outside)
    why_none = "the features of 2 of the 120 outlying images are not finite"
    assert measure(METRICS["outlier_auroc"], labels, given) == Measured(None, why_none=why_none)
    assert measure(METRICS["knn"], labels, given).value is not None
