"""The images that contrastive training does not see."""

import numpy as np
import pytest

from tcl_jax.data import divide, epoch_order


@pytest.mark.parametrize(
    ("held_out", "largest_bank"), [(0, 10_000), (1, 50), (30, 10_000), (30, 20), (100, 5)]
)
def test_every_image_is_trained_on_or_held_out(held_out, largest_bank):
    train, validation, bank = divide(100, held_out, seed=3, largest_bank=largest_bank)
    assert len(validation) == held_out
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(100))
    np.testing.assert_array_equal(train, np.sort(train))
    assert set(bank) <= set(train)
    assert len(set(bank)) == len(bank) == min(100 - held_out, largest_bank)
    assert train.dtype == validation.dtype == bank.dtype == np.int32


def test_the_choice_is_frozen():
    """A run continued by a later version must hold out the same images: these numbers must never be edited."""
    train, validation, bank = divide(10, 3, seed=5)
    assert (train.tolist(), validation.tolist(), bank.tolist()) == (
        [0, 1, 2, 3, 6, 7, 9],
        [8, 5, 4],
        [9, 3, 6, 1, 7, 0, 2],
    )


def test_the_choice_follows_the_seed_and_no_order_of_examples():
    chosen = {tuple(divide(90, 20, seed=seed).validation) for seed in range(4)}
    orders = {tuple(epoch_order(90, seed=seed, epoch=epoch)[:20]) for seed in range(4) for epoch in range(4)}
    assert len(chosen) == 4
    assert not chosen & orders


def test_every_image_is_held_out_equally_often():
    """Chi-squared over four images of 4,000 seeds, of which each holds out one."""
    counts = np.bincount([divide(4, 1, seed=seed).validation[0] for seed in range(4000)], minlength=4)
    assert ((counts - 1000) ** 2 / 1000).sum() < 16.3  # 99.9 % point at 3 degrees of freedom


@pytest.mark.parametrize("held_out", [-1, 11])
def test_more_images_than_there_are_cannot_be_held_out(held_out):
    with pytest.raises(ValueError, match=f"num_held_out is {held_out}, expected 0 to 10"):
        divide(10, held_out, seed=0)
