"""Which images of the training split are held out of contrastive training, to watch it by."""

from typing import NamedTuple

import numpy as np

_STREAM = (0, 1)  # beside those of `epoch_order`, whose spawn keys have one number


class Division(NamedTuple):
    """Positions in the training split. train: int32, ascending. validation, bank: int32, in no order.

    train and validation share no image and make up the split; bank is part of train.
    """

    train: np.ndarray
    validation: np.ndarray
    bank: np.ndarray


def divide(num_examples: int, num_held_out: int, *, seed: int, largest_bank: int = 10_000) -> Division:
    """Hold out some images, and choose those of the rest among which their nearest neighbours are looked for.

    The choice is random and depends on nothing but the arguments.

    num_held_out: 0 to num_examples (ValueError otherwise). largest_bank: the most images that the bank takes.

    >>> [len(part) for part in divide(1437, 100, seed=0)]
    [1337, 100, 1337]
    """
    if not 0 <= num_held_out <= num_examples:
        raise ValueError(f"num_held_out is {num_held_out}, expected 0 to {num_examples}")
    # The raw stream, as in `epoch_order`: it is the same in every version of NumPy.
    stream = np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=_STREAM))
    order = np.argsort(stream.random_raw(num_examples), kind="stable").astype(np.int32)
    validation, rest = order[:num_held_out], order[num_held_out:]
    return Division(np.sort(rest), validation, rest[:largest_bank])
