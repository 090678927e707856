"""Nearest neighbours against loops in NumPy."""

import numpy as np
import pytest

from tcl_jax.evaluate import knn_predict


def reference(queries, bank, labels, num_classes, k, temperature):
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    cosines = unit(queries) @ unit(bank).T
    predicted = []
    for row in cosines:
        nearest = np.argsort(-row)[:k]
        votes = np.zeros(num_classes)
        for j in nearest:
            votes[labels[j]] += np.exp(row[j] / temperature)
        predicted.append(np.argmax(votes))
    return np.array(predicted)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (20, 1.0), (500, 0.07)])
def test_against_loops(k, temperature):
    rng = np.random.default_rng(0)
    bank, labels = rng.normal(size=(120, 5)), rng.integers(0, 4, 120)
    queries = rng.normal(size=(301, 5)) * rng.uniform(
        0.1, 10, (301, 1)
    )  # more than one block; lengths do not matter
    predicted = knn_predict(queries, bank, labels, num_classes=4, k=k, temperature=temperature)
    assert predicted.dtype == np.int32
    np.testing.assert_array_equal(predicted, reference(queries, bank, labels, 4, k, temperature))


def test_near_votes_count_more():
    bank = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]])
    labels = np.array([0, 1, 1])
    query = np.array([[1.0, 0.0]])
    assert knn_predict(query, bank, labels, num_classes=2, k=3, temperature=0.07) == 0
    assert knn_predict(query, bank, labels, num_classes=2, k=3, temperature=10.0) == 1


def test_a_tie_goes_to_the_smaller_class():
    bank, query = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])
    for labels in ([2, 1, 0], [1, 2, 0]):
        assert knn_predict(query, bank, np.array(labels), num_classes=3, k=2) == 1
