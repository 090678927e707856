"""Batches on the host: which examples, held out or trained on, in which order, as plain numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tcl_jax.data.by_class import NO_IMAGE, class_batches
from tcl_jax.data.dataset import Split
from tcl_jax.data.lazy import LazyImages
from tcl_jax.data.order import raw_stream
from tcl_jax.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32, Integer, UInt8

_HELD_OUT = (0, 1)  # spawn key of `train_validation_split`; those of `epoch_order` have one number


class Batch(NamedTuple):
    """Examples of one step.

    Attributes:
      images: uint8 [b, h, w, c].
      labels: int32 [b].
      indices: int32 [b], the position in the split (in the whole of it, where only some examples take part), by which
        an example is known to the random keys.
      weights: float32 [b], 1 for an example and 0 for padding.
    """

    images: UInt8[np.ndarray, "b h w c"]
    labels: Int32[np.ndarray, " b"]
    indices: Int32[np.ndarray, " b"]
    weights: Float32[np.ndarray, " b"]


class TrainValidationSplit(NamedTuple):
    """Positions in the training split. Those of train and validation share no image, and make up the split.

    Attributes:
      train: int32, ascending. Contrastive training sees these.
      validation: int32, in random order. Held out, to measure the encoder during training.
      bank: int32, in random order, a part of train. kNN looks here for the neighbours of validation.
    """

    train: Int32[np.ndarray, " t"]
    validation: Int32[np.ndarray, " v"]
    bank: Int32[np.ndarray, " b"]


def train_validation_split(
    num_examples: int, num_held_out: int, *, seed: int, largest_bank: int = 10_000
) -> TrainValidationSplit:
    """The training split divided into images to train on and held-out images, at random.

    The result depends on nothing but the arguments.

    Args:
      num_held_out: 0 to num_examples.
      seed: 0 or more.
      largest_bank: the most images in the bank.

    Raises:
      ValueError: num_held_out is another number.

    >>> [len(part) for part in train_validation_split(1437, 100, seed=0)]
    [1337, 100, 1337]
    """
    if not 0 <= num_held_out <= num_examples:
        raise ValueError(f"num_held_out is {num_held_out}, expected 0 to {num_examples}")
    order = _random_order(num_examples, seed, _HELD_OUT)
    validation, rest = order[:num_held_out], order[num_held_out:]
    return TrainValidationSplit(np.sort(rest), validation, rest[:largest_bank])


def steps_per_epoch(num_examples: int, batch_size: int, *, field: str = "batch_size") -> int:
    """Number of full batches in one epoch of training; the incomplete last one is dropped.

    Args:
      field: what the batch size is called in the message.

    Raises:
      UserError: not 1 <= batch_size <= num_examples.

    >>> steps_per_epoch(1437, 256)
    5
    """
    if not 1 <= batch_size <= num_examples:
        raise UserError(
            f"{field} is {batch_size}, expected 1 to {num_examples}, the number of images in the "
            "training split: give a smaller one, or a larger data.train_split."
        )
    return num_examples // batch_size


def epoch_order(num_examples: int, *, seed: int, epoch: int) -> Int32[np.ndarray, " n"]:
    """Order of the examples in one epoch: a permutation that depends on nothing but the arguments.

    Args:
      seed, epoch: 0 or more.

    Returns:
      int32 [num_examples].

    Raises:
      ValueError: seed or epoch is negative.
    """
    return _random_order(num_examples, seed, (epoch,))


def train_batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    first_batch: int = 0,
    examples: Integer[np.ndarray, " e"] | None = None,
    rows: Integer[np.ndarray, " r"] | None = None,
    images_per_class: int = 0,
) -> Iterator[Batch]:
    """Full batches of one epoch in `epoch_order`, or those of `class_batches`.

    A row of `class_batches` without an image has weight 0, index -1, and pixels and label of another row of its batch,
    in turn: so the statistics of a BatchNorm, which sees all rows, are those of images of the batch.

    Args:
      first_batch: number of the batch to begin with; above 0 resumes within an epoch.
      examples: int32, positions in the split of those that take part; None takes all. A batch's indices are positions
        in the whole split either way, so that an example keeps its random keys whichever others take part.
      rows: int, which of each batch's examples are read, in this order; None reads all. Processes that read different
        rows of the same batches share every epoch: each example comes once, to one process, and to any of them in the
        next.
      images_per_class: 0 for `epoch_order`.

    Raises:
      UserError: batch_size is larger than the number of examples, or as `class_batches`. As the next, at the call and
        not when the first batch is asked for.
      ValueError: first_batch lies outside the epoch.
    """
    examples = np.arange(len(split.labels), dtype=np.int32) if examples is None else examples
    if images_per_class:
        batches = class_batches(split.labels[examples], batch_size, images_per_class, seed=seed, epoch=epoch)
    else:
        num_batches = steps_per_epoch(len(examples), batch_size)
        order = epoch_order(len(examples), seed=seed, epoch=epoch)
        batches = order[: num_batches * batch_size].reshape(num_batches, batch_size)
    if not 0 <= first_batch <= len(batches):
        raise ValueError(f"first_batch is {first_batch}, expected 0 to {len(batches)}")
    rows = np.arange(batch_size) if rows is None else rows
    wanted = (_Rows.of(batch) for batch in batches[first_batch:])
    return _read(split, [_Rows(examples[read][rows], live[rows]) for read, live in wanted])


def padded_batches(
    split: Split, batch_size: int, *, rows: Integer[np.ndarray, " r"] | None = None
) -> Iterator[Batch]:
    """Every example once, in order; the last batch is filled up to batch_size, so that all have one shape.

    Padding has weight 0, black images, label 0 and index -1.

    Args:
      batch_size: 1 or more; one larger than the split gives one batch.
      rows: int, rising, which of each batch's rows are read, as in `train_batches`; None reads all.

    Raises:
      UserError: batch_size is below 1.
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}, expected 1 or more: give a larger one.")
    rows = np.arange(batch_size, dtype=np.int32) if rows is None else rows.astype(np.int32)
    num_examples = len(split.labels)
    wanted = [start + rows for start in range(0, num_examples, batch_size)]
    batches = _read(split, [_Rows.of(part[part < num_examples]) for part in wanted])
    return (_pad(batch, len(rows)) for batch in batches)


def _random_order(num_examples: int, seed: int, spawn_key: tuple[int, ...]) -> np.ndarray:
    drawn = raw_stream(seed, spawn_key).random_raw(num_examples)
    return np.argsort(drawn, kind="stable").astype(np.int32)


class _Rows(NamedTuple):
    """Rows of a batch: the position of the image that each reads, and whether it is that image or none."""

    read: np.ndarray
    live: np.ndarray

    @classmethod
    def of(cls, positions: np.ndarray) -> _Rows:
        """Those of a whole batch, in which rows without an image are negative; they read the others' in turn."""
        live = positions >= 0
        read = positions.copy()
        read[~live] = np.resize(positions[live], int(np.sum(~live)))
        return cls(read, live)


def _read(split: Split, parts: Sequence[_Rows]) -> Iterator[Batch]:
    """A batch for each part, in order; those of images that are not in memory are read ahead."""
    if not isinstance(split.images, LazyImages):  # gathering takes less than a millisecond
        return (_gather(split, part) for part in parts)
    import grain  # takes a second, and only streaming needs it

    ahead = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    return iter(grain.MapDataset.source(parts).map(lambda part: _gather(split, part)).to_iter_dataset(ahead))


def _gather(split: Split, rows: _Rows) -> Batch:
    indices = np.where(rows.live, rows.read, np.int32(NO_IMAGE))
    return Batch(split.images[rows.read], split.labels[rows.read], indices, rows.live.astype(np.float32))


def _pad(batch: Batch, batch_size: int) -> Batch:
    missing = batch_size - len(batch.labels)
    if not missing:
        return batch
    return Batch(
        images=np.pad(batch.images, ((0, missing), (0, 0), (0, 0), (0, 0))),
        labels=np.pad(batch.labels, (0, missing)),
        indices=np.pad(batch.indices, (0, missing), constant_values=NO_IMAGE),
        weights=np.pad(batch.weights, (0, missing)),
    )
