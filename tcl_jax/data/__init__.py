"""Data on the host: data sets in memory or on disk, and batches of them as numpy arrays."""

from tcl_jax.data.batches import (
    Batch,
    TrainValidationSplit,
    epoch_order,
    padded_batches,
    steps_per_epoch,
    train_batches,
    train_validation_split,
)
from tcl_jax.data.by_class import check_images_per_class, class_batches, class_steps
from tcl_jax.data.dataset import ChannelStatistics, Dataset, DatasetFacts, Split, channel_statistics
from tcl_jax.data.label_noise import add_label_noise, check_label_noise, symmetric_noise
from tcl_jax.data.lazy import LazyImages
from tcl_jax.data.load import dataset_facts, load_dataset
from tcl_jax.data.subset import Subset, long_tail, sample_per_class, subset_facts, take_subset

__all__ = [
    "Batch",
    "ChannelStatistics",
    "Dataset",
    "DatasetFacts",
    "LazyImages",
    "Split",
    "Subset",
    "TrainValidationSplit",
    "add_label_noise",
    "channel_statistics",
    "check_images_per_class",
    "check_label_noise",
    "class_batches",
    "class_steps",
    "dataset_facts",
    "epoch_order",
    "load_dataset",
    "long_tail",
    "padded_batches",
    "sample_per_class",
    "steps_per_epoch",
    "subset_facts",
    "symmetric_noise",
    "take_subset",
    "train_batches",
    "train_validation_split",
]
