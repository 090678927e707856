import itertools

import numpy as np
import pytest

from tcl_jax.data import (
    Split,
    epoch_order,
    padded_batches,
    steps_per_epoch,
    train_batches,
    train_validation_split,
)
from tcl_jax.data.lazy import LazyImages
from tcl_jax.errors import UserError


@pytest.fixture
def split() -> Split:
    """Eleven images that all differ; the label of image i is 2 i."""
    images = np.arange(11 * 2 * 3 * 1, dtype=np.uint8).reshape(11, 2, 3, 1)
    return Split(images, np.arange(0, 22, 2, dtype=np.int32))


def assert_same(batches, expected):
    for batch, other in zip(batches, expected, strict=True):
        for array, value in zip(batch, other, strict=True):
            np.testing.assert_array_equal(array, value)


def assert_matches_split(batch, split):
    live = batch.weights > 0
    np.testing.assert_array_equal(batch.images[live], split.images[batch.indices[live]])
    np.testing.assert_array_equal(batch.labels[live], split.labels[batch.indices[live]])
    assert batch.images.dtype == np.uint8
    assert (batch.labels.dtype, batch.indices.dtype, batch.weights.dtype) == (np.int32, np.int32, np.float32)


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "steps"), [(10, 10, 1), (11, 4, 2), (12, 4, 3), (5, 1, 5)]
)
def test_incomplete_batch_is_not_counted(num_examples, batch_size, steps):
    assert steps_per_epoch(num_examples, batch_size) == steps


@pytest.mark.parametrize("batch_size", [12, 0, -1])
def test_batch_size_that_does_not_fit_is_the_users_to_mend(split, batch_size):
    with pytest.raises(UserError, match=f"batch_size is {batch_size}, expected 1 to 11.*give a smaller one"):
        train_batches(split, batch_size, seed=0, epoch=0)  # at the call, not at the first batch


@pytest.mark.quick
def test_epoch_order_is_frozen():
    """A changed order would change every published result: these numbers must never be edited."""
    order = epoch_order(8, seed=3, epoch=5)
    assert order.tolist() == [2, 5, 3, 6, 0, 7, 4, 1]
    assert order.dtype == np.int32


@pytest.mark.parametrize("num_examples", [0, 1, 2, 1000])
def test_epoch_order_is_a_permutation(num_examples):
    order = epoch_order(num_examples, seed=1, epoch=2)
    np.testing.assert_array_equal(np.sort(order), np.arange(num_examples))


def test_epoch_order_differs_for_every_seed_and_epoch():
    """Also where seed and epoch are swapped or have the same sum, and for seeds above 32 bits."""
    pairs = [*itertools.product([0, 1, 2, 3], repeat=2), (2**32, 0), (2**32, 1), (2**32 + 1, 0), (0, 2**32)]
    orders = {tuple(epoch_order(100, seed=seed, epoch=epoch)) for seed, epoch in pairs}
    assert len(orders) == len(pairs)


def test_epoch_order_is_uniform():
    """Every example is equally often at every place: chi-squared over 4 x 4 cells of 4,000 fixed orders."""
    counts = np.zeros((4, 4))
    for epoch in range(4000):
        counts[np.arange(4), epoch_order(4, seed=0, epoch=epoch)] += 1
    assert ((counts - 1000) ** 2 / 1000).sum() < 27.9  # 99.9 % point at 9 degrees of freedom


def test_train_batches_follow_the_epoch_order(split):
    batches = list(train_batches(split, 4, seed=7, epoch=2))
    assert len(batches) == 2
    np.testing.assert_array_equal(
        np.concatenate([batch.indices for batch in batches]), epoch_order(11, seed=7, epoch=2)[:8]
    )
    for batch in batches:
        assert_matches_split(batch, split)
        np.testing.assert_array_equal(batch.weights, np.ones(4))


def test_a_part_of_the_examples_keeps_its_positions_in_the_split(split):
    examples = np.array([1, 2, 5, 7, 10], np.int32)
    batches = list(train_batches(split, 2, seed=7, epoch=2, examples=examples))
    expected = examples[epoch_order(5, seed=7, epoch=2)[:4]]
    np.testing.assert_array_equal(np.concatenate([batch.indices for batch in batches]), expected)
    for batch in batches:
        assert_matches_split(batch, split)
    rest = list(train_batches(split, 2, seed=7, epoch=2, examples=examples, first_batch=1))
    assert_same(rest, batches[1:])
    with pytest.raises(UserError, match="batch_size is 6, expected 1 to 5"):
        train_batches(split, 6, seed=0, epoch=0, examples=examples)
    everything = train_batches(split, 4, seed=7, epoch=2, examples=np.arange(11, dtype=np.int32))
    assert_same(everything, train_batches(split, 4, seed=7, epoch=2))


@pytest.mark.parametrize("first_batch", [0, 1, 4, 5])
def test_train_batches_resume_where_they_stopped(split, first_batch):
    whole = list(train_batches(split, 2, seed=0, epoch=1))
    rest = list(train_batches(split, 2, seed=0, epoch=1, first_batch=first_batch))
    assert_same(rest, whole[first_batch:])


@pytest.mark.parametrize("first_batch", [-1, 6])
def test_first_batch_outside_the_epoch_is_refused(split, first_batch):
    with pytest.raises(ValueError, match="expected 0 to 5"):
        train_batches(split, 2, seed=0, epoch=0, first_batch=first_batch)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 16])
def test_padded_batches_hold_every_example_once_in_order(split, batch_size):
    batches = list(padded_batches(split, batch_size))
    for batch in batches:
        assert_matches_split(batch, split)
        assert [len(array) for array in batch] == [batch_size] * 4
    indices = np.concatenate([batch.indices for batch in batches])
    weights = np.concatenate([batch.weights for batch in batches])
    np.testing.assert_array_equal(indices[weights == 1], np.arange(11))
    assert weights.sum() == 11
    assert len(weights) < 11 + batch_size


def test_padding_is_marked_everywhere(split):
    *_, last = padded_batches(split, 4)
    np.testing.assert_array_equal(last.weights, [1, 1, 1, 0])
    np.testing.assert_array_equal(last.indices, [8, 9, 10, -1])
    np.testing.assert_array_equal(last.labels, [16, 18, 20, 0])
    assert not last.images[3].any()


def test_padded_batches_refuse_an_empty_batch(split):
    with pytest.raises(UserError, match="batch_size is 0, expected 1 or more"):
        padded_batches(split, 0)


def test_batches_are_copies(split):
    """Whoever changes a batch in place leaves the data set alone."""
    before = split.images.copy()
    for batches in (train_batches(split, 4, seed=0, epoch=0), padded_batches(split, 11)):
        for batch in batches:
            batch.images[:] = 255
    np.testing.assert_array_equal(split.images, before)


@pytest.mark.parametrize("lazy", [False, True])
def test_processes_share_each_batch_and_mix_over_epochs(lazy):
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    stored = LazyImages(lambda i: images[i], range(40), (1, 1, 1)) if lazy else images
    split = Split(stored, np.arange(40, dtype=np.int32))
    seen = []  # by epoch: the examples that the second process read
    for epoch in range(3):
        whole = list(train_batches(split, 8, seed=1, epoch=epoch))
        shares = [
            list(train_batches(split, 8, seed=1, epoch=epoch, rows=rows))
            for rows in (np.arange(4), np.arange(4, 8))
        ]
        for batch, first, second in zip(whole, *shares, strict=True):
            for array, part, rest in zip(batch, first, second, strict=True):
                np.testing.assert_array_equal(array, np.concatenate([part, rest]))
        seen.append({int(i) for batch in shares[1] for i in batch.indices})
    assert len(seen[0] & seen[1]) < 20
    assert len(seen[0] | seen[1] | seen[2]) > 30


@pytest.mark.parametrize(
    ("held_out", "largest_bank"), [(0, 10_000), (1, 50), (30, 10_000), (30, 20), (100, 5)]
)
def test_every_image_is_trained_on_or_held_out(held_out, largest_bank):
    train, validation, bank = train_validation_split(100, held_out, seed=3, largest_bank=largest_bank)
    assert len(validation) == held_out
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(100))
    np.testing.assert_array_equal(train, np.sort(train))
    assert set(bank) <= set(train)
    assert len(set(bank)) == len(bank) == min(100 - held_out, largest_bank)
    assert train.dtype == validation.dtype == bank.dtype == np.int32


def test_the_choice_is_frozen():
    """A run continued by a later version must hold out the same images: these numbers must never be edited."""
    train, validation, bank = train_validation_split(10, 3, seed=5)
    assert (train.tolist(), validation.tolist(), bank.tolist()) == (
        [0, 1, 2, 3, 6, 7, 9],
        [8, 5, 4],
        [9, 3, 6, 1, 7, 0, 2],
    )


def test_the_choice_follows_the_seed_and_no_order_of_examples():
    chosen = {tuple(train_validation_split(90, 20, seed=seed).validation) for seed in range(4)}
    orders = {tuple(epoch_order(90, seed=seed, epoch=epoch)[:20]) for seed in range(4) for epoch in range(4)}
    assert len(chosen) == 4
    assert not chosen & orders


def test_every_image_is_held_out_equally_often():
    """Chi-squared over four images of 4,000 seeds, of which each holds out one."""
    counts = np.bincount(
        [train_validation_split(4, 1, seed=seed).validation[0] for seed in range(4000)], minlength=4
    )
    assert ((counts - 1000) ** 2 / 1000).sum() < 16.3  # 99.9 % point at 3 degrees of freedom


@pytest.mark.parametrize("held_out", [-1, 11])
def test_more_images_than_there_are_cannot_be_held_out(held_out):
    with pytest.raises(ValueError, match=f"num_held_out is {held_out}, expected 0 to 10"):
        train_validation_split(10, held_out, seed=0)
