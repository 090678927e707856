"""Data on the host: data sets in memory or on disk, and batches of them as numpy arrays."""

from tcl_jax.data.batches import (
    Batch,
    Division,
    divide,
    epoch_order,
    padded_batches,
    steps_per_epoch,
    train_batches,
)
from tcl_jax.data.by_class import check_images_per_class, class_batches, class_steps
from tcl_jax.data.dataset import ChannelStatistics, Dataset, DatasetFacts, Split, channel_statistics
from tcl_jax.data.lazy import LazyImages
from tcl_jax.data.load import dataset_facts, load_dataset

__all__ = [
    "Batch",
    "ChannelStatistics",
    "Dataset",
    "DatasetFacts",
    "Division",
    "LazyImages",
    "Split",
    "channel_statistics",
    "check_images_per_class",
    "class_batches",
    "class_steps",
    "dataset_facts",
    "divide",
    "epoch_order",
    "load_dataset",
    "padded_batches",
    "steps_per_epoch",
    "train_batches",
]
