"""Batches and devices."""

import types

import numpy as np
import pytest

from tcl_jax.errors import UserError
from tcl_jax.parallel import check_divides, local_rows, make_mesh


@pytest.mark.parametrize(
    ("batch_size", "nearest"), [(60, 56), (57, 56), (63, 64), (3, 8), (0, 8), (-5, 8), (12, 8), (100, 96)]
)
def test_nearest_batch_that_the_devices_divide_is_named(batch_size, nearest):
    with pytest.raises(UserError, match=f"train.batch_size is {batch_size}, .* 8 devices .* use {nearest},"):
        check_divides("train.batch_size", batch_size, make_mesh(8))


@pytest.mark.parametrize(("batch_size", "devices"), [(64, 8), (7, 1), (8, 8)])
def test_a_batch_that_divides_passes(batch_size, devices):
    check_divides("train.batch_size", batch_size, make_mesh(devices))


def mesh_of_processes(*process_of_device):
    """Stands for a mesh over the devices of several processes; this one is process 0."""
    devices = np.array([types.SimpleNamespace(process_index=number) for number in process_of_device])
    return types.SimpleNamespace(devices=devices, size=len(devices))


def test_one_process_reads_the_whole_batch():
    np.testing.assert_array_equal(local_rows(16, make_mesh(8)), np.arange(16))


@pytest.mark.parametrize(
    ("process_of_device", "rows"),
    [((0, 0, 1, 1), [0, 1, 2, 3]), ((1, 1, 0, 0), [4, 5, 6, 7]), ((0, 1, 1, 0), [0, 1, 6, 7])],
)
def test_a_process_reads_the_rows_of_its_own_devices(process_of_device, rows):
    assert local_rows(8, mesh_of_processes(*process_of_device)).tolist() == rows


def test_a_micro_batch_holds_the_same_rows_on_any_number_of_devices():
    # 24 rows in 3 micro-batches: each device holds its share of the first, then of the second, ...
    assert local_rows(24, make_mesh(1), 3).tolist() == list(range(24))
    of_devices = local_rows(24, make_mesh(4), 3).reshape(4, 3, 2)
    for number in range(3):
        assert of_devices[:, number].reshape(-1).tolist() == list(range(8 * number, 8 * number + 8))
    assert local_rows(24, mesh_of_processes(1, 0), 3).tolist() == [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23]
