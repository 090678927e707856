"""Metrics by name and of the user's own: what they are handed, and what their answers mean."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score, top_k_accuracy_score

from tcl_jax.errors import UserError
from tcl_jax.evaluate import NoValue, few_labels_predict, knn_predict, logistic_regression_predict
from tcl_jax.evaluate.metrics import (
    METRICS,
    OF_FEATURES,
    Measured,
    measure,
    resolve_metric,
    resolve_metrics,
)

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

def of_logits(features, logits):
    return 0

def without_logits(features, logits=None):
    return 0
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
    assert measure(lambda features: np.float32(7.5), LABELS, AVAILABLE) == Measured(7.5)
    assert measure(lambda: float("nan"), LABELS, AVAILABLE) == Measured(None, why_none="its value is nan")
    assert measure(lambda: 3, LABELS, AVAILABLE) == Measured(3.0)


@pytest.mark.parametrize(
    "answer",
    [
        np.zeros(4),
        np.zeros(3, int),
        np.zeros((4, 1), int),
        np.zeros((2, 2, 4), int),
        np.zeros((0, 4), int),
        np.zeros((4, 2)),
        np.zeros((4, 3), int),
        np.zeros((0, 4, 3)),
        np.zeros((1, 1, 4, 3)),
        np.zeros(4, bool),
        "0.5",
        None,
        1j,
    ],
)
def test_another_answer_is_refused(answer):
    with pytest.raises(
        UserError, match=r"metric .* makes .*, expected a number, 4 predicted classes .*, or scores"
    ):
        measure(lambda: answer, LABELS, AVAILABLE)


def test_the_largest_score_is_predicted_and_the_first_of_equal_ones():
    scores = np.array([[0.0, 0.5, 0.5], [0.1, 0.9, 0.0], [-1.0, -2.0, -np.inf], [0.0, 0.0, 0.0]])
    found = measure(lambda: scores, LABELS, AVAILABLE)
    np.testing.assert_array_equal(found.predicted, [1, 1, 0, 0])
    assert found.predicted.dtype == np.int32
    assert found.value == 0.25
    np.testing.assert_array_equal(found.per_class, [0, 0.5, 0])
    assert found.top_5 is None  # of three classes each is among the first five
    half = measure(lambda: jnp.asarray(scores, jnp.bfloat16), LABELS, AVAILABLE)
    np.testing.assert_array_equal(half.predicted, found.predicted)


def of_classes(count, images=200):
    """Scores, and labels that they predict in part."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, count - 1, images).astype(np.int32)  # none of the last class
    scores = rng.normal(size=(images, count)) + np.eye(count)[labels]
    return scores, labels, {"labels": labels, "num_classes": count}


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("count", [5, 6, 100])
def test_the_first_five_and_each_class_are_those_of_scikit_learn(count):
    scores, labels, given = of_classes(count)
    found = measure(lambda: scores, labels, given)
    expected = top_k_accuracy_score(labels, scores, k=5, labels=np.arange(count)) if count > 5 else None
    assert found.top_5 == (None if expected is None else pytest.approx(expected))
    recalls = recall_score(
        labels, scores.argmax(1), average=None, labels=np.arange(count), zero_division=np.nan
    )
    np.testing.assert_allclose(found.per_class, recalls[: labels.max() + 1])
    assert np.nanmean(found.per_class) == pytest.approx(balanced_accuracy_score(labels, scores.argmax(1)))


def test_no_tie_is_broken_by_luck_among_the_first_five():
    labels, given = np.arange(8), {"labels": np.arange(8), "num_classes": 8}
    sure_of_7 = np.tile(np.eye(8)[7], (8, 1))  # as of neighbours that are all of one class
    assert measure(lambda: sure_of_7, labels, given).top_5 == 1 / 8
    two, five, six = (np.tile(np.arange(8) < n, (8, 1)).astype(float) for n in (2, 5, 6))
    assert measure(lambda: two, labels, given).top_5 == 2 / 8
    assert measure(lambda: five, labels, given).top_5 == 5 / 8
    assert measure(lambda: six, labels, given).top_5 == 1 / 8  # the class that is predicted


def test_several_draws_have_a_mean_and_a_deviation():
    draws = np.array([LABELS, [0, 1, 0, 0], [2, 2, 2, 2]])
    found = measure(lambda: draws, LABELS, AVAILABLE)
    accuracies = [1.0, 0.5, 0.25]
    assert (found.value, found.deviation) == pytest.approx((np.mean(accuracies), np.std(accuracies, ddof=1)))
    np.testing.assert_allclose(found.per_class, [2 / 3, 1 / 2, 2 / 3])
    assert found.predicted is None
    single = measure(lambda: draws[:1], LABELS, AVAILABLE)
    assert (single.value, single.deviation) == (1.0, None)


def test_scores_of_several_draws():
    scores, labels, given = of_classes(9)
    draws = np.stack([scores, -scores, scores[:, ::-1]])
    found = measure(lambda: draws, labels, given)
    each = [measure(lambda one=one: one, labels, given) for one in draws]
    assert found.value == pytest.approx(np.mean([one.value for one in each]))
    assert found.deviation == pytest.approx(np.std([one.value for one in each], ddof=1))
    assert found.top_5 == pytest.approx(np.mean([one.top_5 for one in each]))
    np.testing.assert_allclose(found.per_class, np.mean([one.per_class for one in each], axis=0))


@pytest.mark.parametrize("draws", [(), (3,)])
def test_scores_that_are_nan_have_no_accuracy(draws):
    scores = np.broadcast_to(with_nan(np.eye(4, 3)), (*draws, 4, 3))
    found = measure(lambda: scores, LABELS, AVAILABLE)
    assert found == Measured(None, why_none="the scores of 1 of the 4 evaluated images are NaN")


def test_a_metric_may_say_why_it_has_no_value():
    def metric(features):
        raise NoValue("there are too few")

    assert measure(metric, LABELS, AVAILABLE) == Measured(None, why_none="there are too few")


def test_what_is_not_offered_says_why():
    given = AVAILABLE | {"logits": NoValue("it was trained on other classes")}
    expected = Measured(None, why_none="it was trained on other classes")
    assert measure(METRICS["classifier"], LABELS, given) == expected
    assert measure(METRICS["knn"], LABELS, given).value is not None


def test_scores_predict_what_the_public_functions_do():
    rng = np.random.default_rng(0)
    labels, train_labels = (rng.integers(0, 3, n).astype(np.int32) for n in (50, 90))
    features, train_features = (
        (rng.normal(size=(len(y), 4)) + np.eye(3, 4)[y]).astype(np.float32) for y in (labels, train_labels)
    )
    given = {"features": features, "labels": labels, "num_classes": 3}
    given |= {"train_features": train_features, "train_labels": train_labels, "logits": features[:, :3]}
    expected = {
        "knn": knn_predict(features, train_features, train_labels, num_classes=3),
        "logistic_regression": logistic_regression_predict(
            train_features, train_labels, features, num_classes=3
        ),
        "classifier": features[:, :3].argmax(axis=1),
    }
    for name, predicted in expected.items():
        np.testing.assert_array_equal(measure(METRICS[name], labels, given).predicted, predicted)
    few = few_labels_predict(train_features, train_labels, features, counts=[5, 5, 5])
    assert measure(METRICS["labels_5_per_class"], labels, given).value == pytest.approx(
        np.mean(few == labels)
    )


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


@pytest.mark.parametrize(
    "name", ["knn", "logistic_regression", "linear_probe", "classifier", "labels_10_percent"]
)
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
    assert measure(METRICS[name], available["labels"], available) == Measured(None, why_none=why_none)


@pytest.mark.parametrize("name", ["knn", "logistic_regression", "linear_probe", "labels_1_per_class"])
def test_nothing_is_learned_from_images_without_labels(name):
    available = AVAILABLE | {"train_probe": refused, "train_labels": np.array([0, -1])}
    expected = Measured(None, why_none="1 of the 2 training images have no label")
    assert measure(METRICS[name], LABELS, available) == expected


def test_logits_that_are_not_finite_have_no_accuracy():
    available = AVAILABLE | {"logits": with_nan(np.eye(4, 3))}
    found = measure(METRICS["classifier"], LABELS, available)
    assert found == Measured(None, why_none="the logits of 1 of the 4 evaluated images are not finite")


def test_a_number_that_needs_no_labels_is_taken_without_them():
    available = AVAILABLE | {"labels": np.full(4, -1), "train_labels": np.full(2, -1)}
    spread = lambda features, num_classes: features.std()  # noqa: E731
    assert measure(spread, available["labels"], available).value == np.std(FEATURES)
    of_labels = lambda features, labels: 1.0  # noqa: E731
    found = measure(of_labels, available["labels"], available)
    assert found == Measured(None, why_none="4 of the 4 evaluated images have no label")


def test_a_metric_of_the_users_own_is_called_by_its_attribute(own):
    name, metric = resolve_metric("own_metric:largest", field="a", available=OF_FEATURES)
    assert name == "largest"
    assert measure(metric, LABELS, AVAILABLE).value == 3
    assert list(resolve_metrics(["knn", "own_metric:largest"], field="a", available=OF_FEATURES)) == [
        "knn",
        "largest",
    ]


def test_what_has_a_default_need_not_be_there(own):
    assert resolve_metric("own_metric:without_logits", field="a", available=OF_FEATURES)


def test_knn_is_the_vote_of_the_training_features():
    found = measure(METRICS["knn"], LABELS, AVAILABLE)
    assert list(found.predicted[:2]) == [0, 1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["recall"], r"validation.metric is 'recall', expected one of linear_probe, knn, .*my_metric.py"),
        (["linear_probe"], r"validation.metric \('linear_probe'\) names .* needs 'train_probe'"),
        (["classifier"], r"needs 'logits', which is available only in evaluation.metrics, where loss.name"),
        (["outlier_auroc"], r"needs 'outlier_features', .* where evaluation.outliers.name names a data set"),
        (["own_metric:of_logits"], r"\('own_metric:of_logits'\) names .* needs 'logits'"),
        (["own_metric:wanting"], r"needs 'colour', expected .* any of features, labels"),
        (["own_metric:larges"], r"own_metric has no 'larges': did you mean 'largest'\?"),
        (["no_such_module:f"], r"its module cannot be imported \(ModuleNotFoundError"),
        (["knn", "own_metric:knn"], r"two metrics that are called 'knn'"),
    ],
)
def test_what_cannot_be_is_named(own, names, message):
    with pytest.raises(UserError, match=message):
        resolve_metrics(names, field="validation.metric", available=OF_FEATURES)


@pytest.mark.parametrize(
    "name", ["linear_probe", "knn", "logistic_regression", "classifier", "labels_1_per_class"]
)
def test_no_metric_that_predicts_trained_classes_judges_classes_that_training_has_not_seen(name):
    def forbidden():
        raise AssertionError("nothing is trained for what has no value")

    rng = np.random.default_rng(0)
    available = dict(
        features=rng.normal(size=(20, 3)).astype(np.float32),
        labels=np.repeat([2, 3], 10),
        train_features=rng.normal(size=(30, 3)).astype(np.float32),
        train_labels=np.repeat([0, 1], 15),
        num_classes=4,
        train_probe=forbidden,
        logits=np.zeros((20, 2), np.float32),  # of the classes that are trained on
    )
    found = measure(METRICS[name], available["labels"], available)
    assert found == Measured(None, why_none="no evaluated image is of a class of the training images")
    available["labels"][0] = 0  # one in common
    if name == "knn":
        assert measure(METRICS[name], available["labels"], available).value is not None
