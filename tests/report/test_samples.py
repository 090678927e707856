"""Which examples are shown."""

import numpy as np
import pytest

from tcl_jax.report.samples import first_of_classes, nearest, shuffled

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
