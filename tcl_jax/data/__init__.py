"""Data on the host: data sets in memory, and batches of them as numpy arrays."""

from tcl_jax.data.batches import Batch, epoch_order, padded_batches, steps_per_epoch, train_batches
from tcl_jax.data.dataset import ChannelStatistics, Dataset, Split, channel_statistics
from tcl_jax.data.facts import DatasetFacts, dataset_facts
from tcl_jax.data.held_out import Division, divide
from tcl_jax.data.sources import load_dataset

__all__ = [
    "Batch",
    "ChannelStatistics",
    "Dataset",
    "DatasetFacts",
    "Division",
    "Split",
    "channel_statistics",
    "dataset_facts",
    "divide",
    "epoch_order",
    "load_dataset",
    "padded_batches",
    "steps_per_epoch",
    "train_batches",
]
