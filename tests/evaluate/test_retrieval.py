"""Retrieval against loops in NumPy, and against what pytorch-metric-learning makes of the same features."""

import numpy as np
import pytest

from tcl_jax.data import TrainValidationSplit
from tcl_jax.errors import UserError
from tcl_jax.evaluate import (
    METRICS,
    Evaluator,
    evaluate,
    make_validate,
    metrics,
    retrieval,
    retrieval_metrics,
)
from tcl_jax.evaluate.metrics import OF_FEATURES, Measured, measure, of_features, resolve_metrics
from tcl_jax.fields import metric_title
from tcl_jax.models import make_encode
from tcl_jax.parallel import make_mesh
from tests.losses.reference import GOLDEN

ONE = make_mesh(1)
NAMES = ("recall_at_1", "recall_at_2", "recall_at_4", "recall_at_8", "r_precision", "map_at_r")


def reference(features, labels):
    """The definitions, one query after the other, in float64."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-300)
    cosines = unit @ unit.T
    values = []
    for query in range(len(labels)):
        others = [j for j in range(len(labels)) if j != query]
        others.sort(key=lambda j: (-cosines[query, j], j))
        rel = [int(labels[j] == labels[query]) for j in others]
        r = sum(rel)
        if r:
            precision = [sum(rel[: i + 1]) / (i + 1) for i in range(r)]
            recalls = [max(rel[:k]) for k in (1, 2, 4, 8)]
            average = sum(p * hit for p, hit in zip(precision, rel[:r], strict=True)) / r
            values.append([*recalls, precision[-1], average])
    return [*np.mean(values, axis=0), len(values), len(labels) - len(values)]


LABELLINGS = {
    "random": np.random.default_rng(0).integers(0, 5, 70),
    "long-tailed": np.repeat(np.arange(8), [40, 12, 8, 4, 3, 1, 1, 1]),
    "numbers far apart": np.random.default_rng(1).choice([3, 70_000, 2**31 - 2], 30),
    "fewer than eight": np.array([0, 0, 1, 1, 2]),
    "one pair": np.array([4, 2, 4]),
    "one class": np.zeros(12, int),
}


def some(name, width=4):
    rng = np.random.default_rng(2)
    labels = rng.permutation(LABELLINGS[name])
    return rng.normal(size=(len(labels), width)) * rng.uniform(1e-3, 1e3, (len(labels), 1)), labels


@pytest.mark.parametrize("name", LABELLINGS)
def test_against_loops(name):
    features, labels = some(name)
    found = retrieval_metrics(features, labels, mesh=ONE)
    np.testing.assert_allclose(found, reference(features, labels), rtol=1e-6)


@pytest.mark.parametrize("name", ["balanced", "long_tailed", "one_large_class", "pairs"])
def test_as_pytorch_metric_learning_has_it(name):
    with np.load(GOLDEN / "retrieval_pml.npz") as file:
        case = {key.partition("/")[2]: file[key] for key in file.files if key.startswith(f"{name}/")}
    found = retrieval_metrics(case["features"], case["labels"], mesh=ONE)
    theirs = [case[key] for key in ("precision_at_1", "r_precision", "mean_average_precision_at_r")]
    np.testing.assert_allclose([found.recall_at_1, found.r_precision, found.map_at_r], theirs, atol=1e-6)
    assert 0 < found.map_at_r < 1


@pytest.mark.parametrize("devices", [2, 8])
def test_any_number_of_devices_and_any_blocks_give_the_same(monkeypatch, devices):
    features, labels = some("long-tailed")
    expected = retrieval_metrics(features, labels, mesh=ONE)
    assert retrieval_metrics(features, labels, mesh=make_mesh(devices)) == expected
    monkeypatch.setattr(retrieval, "_CELLS", 3 * len(labels))  # three queries at a time
    np.testing.assert_allclose(
        retrieval_metrics(features, labels, mesh=make_mesh(devices)), expected, rtol=1e-6
    )


@pytest.mark.parametrize(
    "features",
    [
        np.ones((40, 3)),
        np.zeros((40, 3)),
        np.eye(4)[np.arange(40) % 4],
        np.array([0.0, 1.0, -1.0])[np.arange(40) % 3, None],  # also cosines of -0, which is 0
    ],
)
def test_a_tie_goes_to_the_lower_index(features):
    labels = np.random.default_rng(3).integers(0, 4, 40)
    found = retrieval_metrics(features, labels, mesh=ONE)
    np.testing.assert_allclose(found, reference(features, labels), rtol=1e-6)


def test_one_query_by_hand():
    angles = np.radians([0, 10, 20, 30, 40])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Row 0 finds 1, 0, 0, 1 with R = 2: P(1) = 1, P(2) = 1/2. Row 1: of 0 (first of the tie with 2), 2, 3, 4 it finds
    # 1, 0, 0, 1. Row 4 finds 0, 0, 1, 1. Rows 2 and 3 are the only ones of their classes.
    found = retrieval_metrics(features, [5, 5, 1, 0, 5], mesh=ONE)
    np.testing.assert_allclose(found[:4], [2 / 3, 2 / 3, 1, 1])
    np.testing.assert_allclose(found[4:], [(1 / 2 + 1 / 2 + 0) / 3, (1 / 2 + 1 / 2 + 0) / 3, 3, 2])


def test_no_n_by_n_array_is_made(monkeypatch):
    monkeypatch.setattr(retrieval, "_CELLS", 4 * 600)
    rows, labels = np.ones((600, 2), np.float32), np.zeros(600, np.int32)
    options = dict(mesh=ONE, block=4, depth=9)
    text = retrieval._rank.lower(labels, rows, labels, labels, **options).as_text()
    assert "4x600xf32" in text
    assert "600x600" not in text


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
@pytest.mark.parametrize("dtype", [np.float64, list])
def test_lengths_do_not_matter(scale, dtype):
    features, labels = some("random")
    given = features * scale if dtype is np.float64 else (features * scale).tolist()
    assert retrieval_metrics(given, labels, mesh=ONE)[4:] == pytest.approx(
        retrieval_metrics(features, labels, mesh=ONE)[4:]
    )


BAD = np.ones((4, 2), np.float32)
BAD[2, 1] = np.nan


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (BAD, [0, 0, 1, 1], "^features must be finite, got 1 of 4 rows"),
        (np.ones((4, 2), int), [0, 0, 1, 1], r"^features must be floating \[n, f\], got int64"),
        (np.ones(4), [0, 0, 1, 1], r"^features must be floating \[n, f\]"),
        (np.ones((4, 2)), [0, 0, 1], r"^labels must be integer \[4\]"),
        (np.ones((4, 2)), [0.0, 0.0, 1.0, 1.0], r"^labels must be integer \[4\]"),
        (np.ones((4, 2)), [0, 0, -1, 1], "^labels must be 0 to .* the first of them -1"),
        (
            np.ones((4, 2)),
            [0, 1, 2, 3],
            "^labels must have at least two rows of one class, got 4, each of its own",
        ),
        (np.ones((1, 2)), [0], "^labels must have at least two rows of one class"),
    ],
)
def test_what_it_cannot_use_is_named(features, labels, message):
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(features, labels, mesh=ONE)


def available(features, labels, said=None):
    return of_features(
        features,
        labels,
        features,
        labels,
        num_classes=labels.max() + 1,
        mesh=ONE,
        say=[].append if said is None else said.append,
    )


def test_every_number_is_a_row_of_the_table_and_neighbours_are_sorted_once(monkeypatch):
    features, labels = some("long-tailed")
    expected = retrieval_metrics(features, labels, mesh=ONE)
    calls, said = [], []
    monkeypatch.setattr(metrics, "retrieval_metrics", lambda *_, **__: calls.append(0) or expected)
    given = available(features, labels, said)
    found = resolve_metrics(["knn", "retrieval"], field="evaluation.metrics", available=OF_FEATURES)
    assert tuple(found) == ("knn", *NAMES)
    assert [measure(found[name], labels, given).value for name in NAMES] == list(expected[:6])
    assert len(calls) == 1
    assert said == [
        "Retrieval is the mean over 67 of the 70 evaluated images: the others are the only ones of their class."
    ]


@pytest.mark.parametrize("names", [["retrieval", "recall_at_1"], ["retrieval", "retrieval"]])
def test_a_metric_named_twice_is_refused(names):
    with pytest.raises(UserError, match="names two metrics that are called 'recall_at_1'"):
        resolve_metrics(names, field="evaluation.metrics", available=OF_FEATURES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("labels", "why_none"),
    [
        (np.zeros(4, int), "the evaluated images are all of one class"),
        (np.arange(4), "no two evaluated images are of one class"),
        (np.array([0, 0, -1, 1]), "1 of the 4 evaluated images have no label"),
        (np.full(4, -1), "4 of the 4 evaluated images have no label"),
    ],
)
def test_retrieval_that_means_nothing_is_none_and_says_why(name, labels, why_none):
    given = available(np.eye(4), labels) | {"num_classes": 4}
    assert measure(METRICS[name], labels, given) == Measured(None, why_none=why_none)


def test_features_that_are_not_finite_have_no_retrieval():
    labels = np.array([0, 0, 1, 1])
    found = measure(METRICS["map_at_r"], labels, available(BAD, labels))
    assert found == Measured(None, why_none="the features of 1 of the 4 evaluated images are not finite")


def test_training_labels_that_are_not_known_do_not_matter():
    features, labels = some("random")
    given = available(features, labels) | {"train_labels": np.full(70, -1)}
    assert measure(METRICS["r_precision"], labels, given).value == pytest.approx(
        reference(features, labels)[4]
    )


def test_titles_are_those_of_the_field():
    assert [metric_title(name) for name in NAMES] == [
        "recall@1",
        "recall@2",
        "recall@4",
        "recall@8",
        "R-precision",
        "MAP@R",
    ]
    assert metric_title("recall_at_training") == "recall at training"


@pytest.fixture
def encode(frozen):
    return make_encode(frozen.model, mean=frozen.mean, std=frozen.std, mesh=ONE)


def test_an_evaluation_is_of_the_test_images_alone(frozen, split, encode, capsys):
    lone = split.labels[:40].copy()
    lone[7] = 3
    evaluator = Evaluator(
        train=split,
        test=split.select(np.arange(40))._replace(labels=lone),
        class_names=("a", "b", "c", "d"),
        model=frozen.model,
        encode=encode,
        metrics={name: METRICS[name] for name in NAMES},
        probe_views=None,
        probe=None,
        seed=0,
        batch_size=50,
        mesh=ONE,
    )
    found = evaluate(evaluator, frozen.variables)
    expected = reference(frozen.features(split.images[:40]), lone)
    np.testing.assert_allclose(list(found.metrics.values()), expected[:6], rtol=1e-6)
    assert tuple(found.metrics) == NAMES
    assert capsys.readouterr().out == (
        "Retrieval is the mean over 39 of the 40 evaluated images: the others are the only ones of their class.\n"
    )


def test_it_may_choose_the_best_checkpoint_and_says_once_what_it_leaves_out(frozen, split, encode, capsys):
    held_out = np.arange(50)
    split = split._replace(labels=np.where(np.arange(110) == 3, 3, split.labels))
    indices = TrainValidationSplit(np.arange(50, 110), held_out, np.arange(50, 110))
    options = dict(num_classes=4, batch_size=50, mesh=ONE)
    validate = make_validate(METRICS["map_at_r"], encode, split, indices, **options)
    expected = reference(frozen.features(split.images[:50]), split.labels[:50])[5]
    assert validate(frozen.variables) == pytest.approx(expected, rel=1e-6)
    assert validate(frozen.variables) == pytest.approx(expected, rel=1e-6)
    assert capsys.readouterr().out.count("Retrieval is the mean over 49 of the 50 evaluated images") == 1
