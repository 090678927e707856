"""Batches and devices."""

import pytest

from tcl_jax.errors import UserError
from tcl_jax.parallel import check_divides, make_mesh


@pytest.mark.parametrize(
    ("batch_size", "nearest"), [(60, 56), (57, 56), (63, 64), (3, 8), (0, 8), (-5, 8), (12, 8), (100, 96)]
)
def test_nearest_batch_that_the_devices_divide_is_named(batch_size, nearest):
    with pytest.raises(UserError, match=f"train.batch_size is {batch_size}, .* 8 devices .* use {nearest},"):
        check_divides("train.batch_size", batch_size, make_mesh(8))


@pytest.mark.parametrize(("batch_size", "devices"), [(64, 8), (7, 1), (8, 8)])
def test_a_batch_that_divides_passes(batch_size, devices):
    check_divides("train.batch_size", batch_size, make_mesh(devices))
