"""Which training labels are made wrong: at the rate that is asked for, any other class alike, repeatably."""

import numpy as np
import pytest

from tcl_jax.data import Dataset, LazyImages, Split, add_label_noise, check_label_noise, symmetric_noise
from tcl_jax.errors import UserError

LABELS = np.random.default_rng(0).integers(0, 5, 60_000).astype(np.int32)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.8])
def test_rates_are_those_of_the_transition_matrix(share):
    found = symmetric_noise(LABELS, share, 5, seed=0)
    assert found.dtype == np.int32
    counts = np.zeros((5, 5))
    np.add.at(counts, (LABELS, found), 1)
    rates = counts / counts.sum(axis=1, keepdims=True)
    expected = np.where(np.eye(5, dtype=bool), 1 - share, share / 4)
    deviation = np.sqrt(expected * (1 - expected) / (60_000 / 5))
    assert np.abs((rates - expected) / deviation).max() < 4


def test_noise_is_repeatable_and_grows_with_its_share():
    few, many = (symmetric_noise(LABELS, share, 5, seed=7) for share in (0.2, 0.4))
    np.testing.assert_array_equal(few, symmetric_noise(LABELS, 0.2, 5, seed=7))
    wrong = few != LABELS
    np.testing.assert_array_equal(few[wrong], many[wrong])
    assert not np.array_equal(few, symmetric_noise(LABELS, 0.2, 5, seed=8))
    np.testing.assert_array_equal(symmetric_noise(LABELS, 0.0, 5, seed=7), LABELS)
    assert (symmetric_noise(LABELS, 1.0, 5, seed=7) != LABELS).all()
    # Of the raw stream, whose numbers are the same in every version of NumPy.
    raw = np.random.PCG64(np.random.SeedSequence(7, spawn_key=(0, 4))).random_raw(2 * len(LABELS))
    expected = [
        (int(label) + 1 + int(step) % 4) % 5 if int(chance) < 0.2 * 2**64 else label
        for label, chance, step in zip(LABELS[:500], raw[::2], raw[1::2], strict=False)
    ]
    np.testing.assert_array_equal(few[:500], expected)


@pytest.mark.parametrize("lazy", [False, True])
def test_training_labels_alone_are_changed_and_the_true_ones_are_kept(lazy):
    images = np.arange(90, dtype=np.uint8)[:, None, None, None]
    shown = LazyImages(lambda position: images[position], range(90), (1, 1, 1)) if lazy else images
    dataset = Dataset("own", Split(shown, LABELS[:90]), Split(images, LABELS[:90]), tuple("abcde"))
    noisy = add_label_noise(dataset, 0.5, seed=1)
    np.testing.assert_array_equal(noisy.train.labels, symmetric_noise(LABELS[:90], 0.5, 5, seed=1))
    assert noisy.test is dataset.test
    np.testing.assert_array_equal(noisy.true_labels, LABELS[:90])
    assert add_label_noise(dataset, 0.0, seed=1) is dataset


def test_noise_of_classes_that_are_trained_on_stays_among_them():
    split = Split(np.zeros((90, 1, 1, 1), np.uint8), LABELS[:90] % 3)
    dataset = Dataset("own", split, split, tuple("abcde"), unseen_classes=2)
    assert set(add_label_noise(dataset, 0.9, seed=1).train.labels) == {0, 1, 2}


@pytest.mark.parametrize(("labels", "names"), [([-1, 0, 1], "ab"), ([0, 0, 0], "a"), ([-1, -1, -1], "")])
def test_labels_that_cannot_be_wrong_are_named(labels, names):
    split = Split(np.zeros((3, 1, 1, 1), np.uint8), np.array(labels, np.int32))
    with pytest.raises(UserError, match=r"data.label_noise is 0.2, but .* set it to 0.0"):
        add_label_noise(Dataset("own", split, None, tuple(names)), 0.2, seed=0)
    check_label_noise(0.0, 0)
