"""Random numbers on the host that are the same in every version of NumPy."""

import numpy as np


def raw_stream(seed: int, spawn_key: tuple[int, ...]) -> np.random.PCG64:
    """A bit generator for one purpose, which its spawn key names.

    Taken are (epoch,), (0, 1), (epoch, 2), (0, 3) and (0, 4).

    NumPy keeps the raw stream of a bit generator the same for ever, but not what shuffle() makes of it. Sorting by one
    64-bit number for each example is therefore the same order in every version.

    Raises:
      ValueError: a number is negative.
    """
    return np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=spawn_key))
