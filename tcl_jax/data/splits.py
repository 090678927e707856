"""Parts of a data set by TFDS' slicing: "train", "train[:90%]", "train+test"."""

from typing import Any

from tcl_jax.errors import UserError


def split_size(splits: Any, name: str, field: str, split: str) -> int:
    """Number of images of a split.

    Args:
      splits: TFDS' SplitDict, which knows each whole split's size.
      name: of the data set, for the message.
      field: the config field that gave `split`, for the message.
      split: as in TFDS.

    Raises:
      UserError: there is no such split, or it is empty.
    """
    return len(split_positions(splits, name, field, split))


def split_dict(sizes: dict[str, int]) -> Any:
    """TFDS' SplitDict of whole splits of so many images."""
    import tensorflow_datasets as tfds  # as in `split_positions`

    infos = [
        tfds.core.SplitInfo(name=name, shard_lengths=[size], num_bytes=0) for name, size in sizes.items()
    ]
    return tfds.core.splits.SplitDict(infos)


def split_positions(splits: Any, name: str, field: str, split: str) -> list[tuple[str, int]]:
    """What a split is made of: (name of a whole split, position in it) for each image. Arguments as `split_size`."""
    import tensorflow_datasets as tfds  # takes half a second, and only reading data needs it

    has = ", ".join(f"{key} ({info.num_examples} images)" for key, info in splits.items())
    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(dict(splits.items()))
    except Exception as error:  # a malformed split is a ValueError, others are KeyError or AssertionError
        raise UserError(
            f"{field} is '{split}', expected a split of the data set '{name}', which has {has}, or a slice "
            "of one such as 'train[:90%]'."
        ) from error
    positions = [
        (part.splitname, position)
        for part in parts
        for position in range(*slice(part.from_, part.to).indices(splits[part.splitname].num_examples))
    ]
    if not positions:
        raise UserError(f"{field} is '{split}', which is empty: the data set '{name}' has {has}.")
    return positions
