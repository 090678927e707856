"""Which examples are shown, and where; maps keep what is near together, and exist for any features."""

import numpy as np
import pytest

from tcl_jax.report.samples import first_of_classes, nearest, projections, shuffled

RANDOM = np.random.RandomState(2)


@pytest.mark.parametrize(
    ("order", "count", "expected"),
    [
        ([0, 1, 2, 3, 4, 5], 3, [0, 2, 5]),  # of labels 0, 1, 2
        ([5, 4, 3, 2, 1, 0], 3, [5, 4, 1]),
        ([0, 1, 2, 3, 4, 5], 5, [0, 2, 5, 1, 3]),  # then the second of each
        ([1, 4], 10, [1, 4]),  # no more than there are
    ],
)
def test_examples_are_of_distinct_classes_as_long_as_there_are_any(order, count, expected):
    labels = np.array([0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(first_of_classes(labels, np.array(order), count), expected)


def test_nearest_is_by_cosine_whatever_the_lengths():
    queries, bank = RANDOM.randn(7, 5), RANDOM.randn(40, 5) * RANDOM.uniform(0.1, 10, (40, 1))
    cosines = np.array([[q @ b / np.linalg.norm(q) / np.linalg.norm(b) for b in bank] for q in queries])
    found = nearest(queries, bank, 8)
    assert found.shape == (7, 8)
    np.testing.assert_array_equal(found, np.argsort(-cosines, axis=1)[:, :8])
    assert nearest(queries, bank[:3], 8).shape == (7, 3)


def test_nearest_of_a_bank_in_several_parts(monkeypatch):
    queries, bank = RANDOM.randn(3, 4), RANDOM.randn(30, 4)
    whole = nearest(queries, bank, 10)
    monkeypatch.setattr("tcl_jax.report.samples._BLOCK", 7)
    np.testing.assert_array_equal(nearest(queries, bank, 10), whole)


def test_shuffled_is_a_fixed_order_of_all():
    assert sorted(shuffled(1000)) == list(range(1000))
    np.testing.assert_array_equal(shuffled(50), shuffled(50))
    assert abs(np.corrcoef(shuffled(1000), np.arange(1000))[0, 1]) < 0.2


def clusters(count=60, features=20):
    labels = np.arange(count) % 3
    centers = 5 * np.eye(3, features) + 1
    return centers[labels] + 0.1 * RANDOM.randn(count, features), labels


def test_classes_that_lie_apart_lie_apart_in_the_maps():
    rows, labels = clusters()
    maps = projections(rows)
    assert list(maps) == ["t-SNE", "PCA"]
    for places in maps.values():
        assert places.shape == (60, 2)
        centers = np.stack([places[labels == c].mean(0) for c in range(3)])
        distances = np.linalg.norm(places[:, None] - centers, axis=-1)
        np.testing.assert_array_equal(distances.argmin(1), labels)
        np.testing.assert_allclose(np.abs(places).max(), 1)


def test_principal_components_are_those_of_the_covariance():
    rows, _ = clusters()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(unit.T))
    expected = (unit - unit.mean(0)) @ vectors[:, [-1, -2]]
    found = projections(rows)["PCA"]
    for column in (0, 1):
        assert abs(np.corrcoef(expected[:, column], found[:, column])[0, 1]) > 1 - 1e-9
    np.testing.assert_allclose(found.var(0)[1] / found.var(0)[0], values[-2] / values[-1], rtol=1e-6)


def test_only_directions_count_as_for_knn():
    rows, _ = clusters()
    scaled = rows * 2.0 ** RANDOM.randint(-3, 4, (60, 1))  # exact, so that even t-SNE is the same
    for name, places in projections(rows).items():
        np.testing.assert_allclose(projections(scaled)[name], places, atol=1e-6)


def test_the_same_features_give_the_same_maps():
    rows, _ = clusters()
    first, second = projections(rows), projections(rows.copy())
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize(
    ("features", "names"),
    [
        (np.ones((1, 4)), ["PCA"]),
        (np.eye(2), ["PCA"]),
        (np.eye(4), ["PCA"]),
        (np.eye(5), ["t-SNE", "PCA"]),
        (np.ones((30, 3)), ["PCA"]),
        (np.zeros((30, 3)), ["PCA"]),
        (RANDOM.randn(12, 1), ["t-SNE", "PCA"]),
        (RANDOM.randn(8, 3).astype(np.float32), ["t-SNE", "PCA"]),
    ],
)
def test_any_features_have_a_map(features, names):
    maps = projections(features)
    assert list(maps) == names
    for places in maps.values():
        assert places.shape == (len(features), 2)
        assert np.isfinite(places).all()
        assert np.abs(places).max() <= 1 + 1e-12
