"""Devices: the mesh, where arrays are on it, and the batch sizes that it divides."""

import functools
from collections.abc import Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax.errors import UserError

DATA_AXIS = "data"
"""The only axis of the mesh: batches are split along it, all else is replicated."""

T = TypeVar("T")


def make_mesh(num_devices: int | None = None, *, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over the first `num_devices` of `devices`; None takes all, and all that are there."""
    devices = (jax.devices() if devices is None else devices)[:num_devices]
    # jax.make_mesh's default axis type asks for the sharding of every intermediate array; Auto lets XLA choose.
    return jax.make_mesh((len(devices),), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicate(tree: T, mesh: Mesh) -> T:
    """The tree with a copy of every array on each device."""
    return jax.device_put(tree, NamedSharding(mesh, P()))


def local_rows(batch_size: int, mesh: Mesh, micro_batches: int = 1) -> np.ndarray:
    """Rows of a global batch that this process reads, in the order in which they lie on its devices: int [n].

    Micro-batch k is the k-th part of the global batch on any number of devices: each device holds its share of
    micro-batch 0, then of micro-batch 1, and so on. With one process and one device these are all rows in order.

    >>> local_rows(8, make_mesh(1), 2)
    array([0, 1, 2, 3, 4, 5, 6, 7])
    """
    of_devices = np.arange(batch_size).reshape(micro_batches, mesh.size, -1)
    mine = [
        number
        for number, device in enumerate(mesh.devices.flat)
        if device.process_index == jax.process_index()
    ]
    return of_devices[:, mine].swapaxes(0, 1).reshape(-1)


def split_batch(tree: T, mesh: Mesh) -> T:
    """The tree with every array split along its first axis, one equal part for each device.

    Each process hands over its `local_rows` of the batch.
    """
    sharding = NamedSharding(mesh, P(DATA_AXIS))
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(functools.partial(jax.make_array_from_process_local_data, sharding), tree)


def check_divides(name: str, batch_size: int, mesh: Mesh) -> None:
    """Refuse a batch that does not split into equal parts, naming the nearest that does.

    Raises:
      UserError: a batch size that the number of devices does not divide.
    """
    devices = mesh.size
    if batch_size < 1 or batch_size % devices:
        below, above = batch_size // devices * devices, -(-max(batch_size, 1) // devices) * devices
        nearest = above if below < 1 or above - batch_size < batch_size - below else below
        raise UserError(
            f"{name} is {batch_size}, which the {devices} devices do not divide into equal parts: "
            f"use {nearest}, the nearest that they do."
        )
