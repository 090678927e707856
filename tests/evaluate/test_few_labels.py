"""Few labels: the classifier against that of scikit-learn, and what is drawn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from tcl_jax.data import TrainValidationSplit
from tcl_jax.errors import UserError
from tcl_jax.evaluate import METRICS, few_labels_predict, make_validate
from tcl_jax.evaluate.few_labels import DRAWS, draw_images, share_of_each
from tcl_jax.evaluate.metrics import GROUPS, OF_FEATURES, Measured, measure, resolve_metrics
from tcl_jax.fields import metric_title
from tcl_jax.models import make_encode
from tcl_jax.parallel import make_mesh

NAMES = GROUPS["few_labels"]
LABELLINGS = {
    "balanced": np.repeat(np.arange(4), 50),
    "long-tailed": np.repeat(np.arange(5), [300, 100, 30, 12, 3]),
    "numbers missing": np.repeat([1, 4], 20),
    "one each": np.arange(6),
}


def some(name="balanced", width=7, dtype=np.float64):
    """Features and labels to draw from, and features to predict from."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(LABELLINGS[name])
    centres = rng.normal(size=(labels.max() + 1, width))
    features = rng.normal(size=(len(labels), width)) + centres[labels]
    features[:, 0] = 3.0  # a feature that is constant
    return features.astype(dtype), labels, (rng.normal(size=(90, width)) + centres[0] / 2).astype(dtype)


@pytest.mark.parametrize("width", [3, 7, 40])  # fewer and more than images
@pytest.mark.parametrize("name", LABELLINGS)
def test_the_classifier_is_that_of_scikit_learn(name, width):
    train, labels, test = some(name, width)
    counts = np.minimum(np.bincount(labels), 4)
    found = few_labels_predict(train, labels, test, counts=counts, draws=3, seed=2)
    assert (found.shape, found.dtype) == ((3, 90), np.int32)
    scaler = StandardScaler().fit(train)
    for draw, predicted in enumerate(found):
        drawn = draw_images(labels, counts, seed=2, draw=draw)
        one_hot = np.eye(len(counts))[labels[drawn]]
        fitted = Ridge(alpha=width).fit(scaler.transform(train[drawn]), one_hot)
        np.testing.assert_array_equal(predicted, fitted.predict(scaler.transform(test)).argmax(axis=1))


@pytest.mark.parametrize("scale", [1e-20, 1e3])
def test_scale_and_offset_do_not_matter(scale):
    train, labels, test = some()
    expected = few_labels_predict(train, labels, test, counts=[5] * 4)
    moved = few_labels_predict(scale * (train + 7), labels, scale * (test + 7), counts=[5] * 4)
    assert np.mean(moved != expected) < 0.01


@pytest.mark.parametrize("name", LABELLINGS)
@pytest.mark.parametrize("most", [1, 2, 7, 1000])
def test_so_many_of_each_class_are_drawn_and_more_hold_the_fewer(name, most):
    _, labels, _ = some(name)
    counts = np.minimum(np.bincount(labels), most)
    seen = set()
    for draw in range(5):
        drawn = draw_images(labels, counts, seed=1, draw=draw)
        assert len(np.unique(drawn)) == len(drawn)
        np.testing.assert_array_equal(np.bincount(labels[drawn], minlength=len(counts)), counts)
        np.testing.assert_array_equal(drawn, draw_images(labels, counts, seed=1, draw=draw))
        assert set(draw_images(labels, np.minimum(counts, 1), seed=1, draw=draw)) <= set(drawn)
        seen.add(tuple(sorted(drawn)))
    assert len(seen) == 1 if (counts == np.bincount(labels)).all() else len(seen) > 1


def test_another_seed_draws_others():
    _, labels, _ = some()
    first, second = (draw_images(labels, np.full(4, 3), seed=seed, draw=0) for seed in (0, 1))
    assert set(first) != set(second)


def test_every_image_is_as_likely():
    labels = np.repeat([0, 1], [10, 30])
    drawn = np.concatenate([draw_images(labels, np.array([2, 3]), seed=0, draw=draw) for draw in range(2000)])
    share = np.bincount(drawn) / 2000
    np.testing.assert_allclose(share, np.repeat([0.2, 0.1], [10, 30]), atol=0.04)


def test_a_share_leaves_no_class_without_an_image():
    assert share_of_each(np.array([6000, 149, 151, 50, 1, 0]), 0.01).tolist() == [60, 1, 2, 1, 1, 0]
    assert share_of_each(np.array([6000, 149, 151, 50, 1, 0]), 0.1).tolist() == [600, 15, 15, 5, 1, 0]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([51, 1, 1, 1], r"counts must be 0 to \[50, 50, 50, 50\]"),
        ([0, 0, 0, 0], "not all 0"),
        ([-1, 1, 1, 1], "counts must be"),
        ([1, 1, 1], "train_labels must be 0 to 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(counts, message):
    train, labels, test = some()
    with pytest.raises(ValueError, match=message):
        few_labels_predict(train, labels, test, counts=counts)


def available(name="balanced", count=None):
    train, labels, test = some(name)
    count = len(np.unique(labels)) if count is None else count
    judged = np.random.default_rng(1).integers(0, 2, len(test)).astype(np.int32)
    return {
        "features": test,
        "labels": judged,
        "train_features": train,
        "train_labels": labels.astype(np.int32),
        "num_classes": count,
    }


def test_each_row_is_the_mean_and_deviation_of_its_draws():
    given = available()
    train, labels, test = some()
    for name, counts in zip(NAMES, ([1] * 4, [5] * 4, [10] * 4, [1] * 4, [5] * 4), strict=True):
        found = measure(METRICS[name], given["labels"], given)
        predicted = few_labels_predict(train, labels, test, counts=counts)
        accuracies = np.mean(predicted == given["labels"], axis=1)
        assert len(accuracies) == DRAWS
        assert found.value == pytest.approx(np.mean(accuracies))
        assert found.deviation == pytest.approx(np.std(accuracies, ddof=1))


@pytest.mark.parametrize(
    ("name", "metric", "why_none"),
    [
        (
            "long-tailed",
            "labels_5_per_class",
            "class 4 has fewer than 5 training images",
        ),
        ("numbers missing", "labels_1_per_class", "class 0 has fewer than 1 training images"),
        ("one each", "labels_10_per_class", "class 0 has fewer than 10 training images"),
        ("long-tailed", "labels_1_percent", ""),
        ("numbers missing", "labels_10_percent", ""),
    ],
)
def test_too_few_images_have_no_value_and_say_why(name, metric, why_none):
    given = available(name, count=1 + LABELLINGS[name].max())
    found = measure(METRICS[metric], given["labels"], given)
    if why_none:
        assert found == Measured(None, why_none=why_none)
    else:
        assert 0 <= found.value <= 1


def test_they_may_choose_the_best_checkpoint(frozen, split):
    mesh = make_mesh(1)
    encode = make_encode(frozen.model, mean=frozen.mean, std=frozen.std, mesh=mesh)
    held_out, bank = np.arange(40), np.arange(40, 110)
    indices = TrainValidationSplit(bank, held_out, bank)
    validate = make_validate(
        METRICS["labels_5_per_class"], encode, split, indices, num_classes=3, batch_size=50, mesh=mesh
    )
    features = frozen.features(split.images)
    predicted = few_labels_predict(features[bank], split.labels[bank], features[held_out], counts=[5] * 3)
    assert validate(frozen.variables) == pytest.approx(np.mean(predicted == split.labels[held_out]), abs=0.02)


def test_the_group_names_all_and_titles_are_plain():
    assert tuple(resolve_metrics(["few_labels"], field="a", available=OF_FEATURES)) == NAMES
    assert [metric_title(name) for name in NAMES] == [
        "1 label per class",
        "5 labels per class",
        "10 labels per class",
        "1 % of labels",
        "10 % of labels",
    ]
    with pytest.raises(UserError, match="two metrics that are called 'labels_1_percent'"):
        resolve_metrics(["few_labels", "labels_1_percent"], field="a", available=OF_FEATURES)
