"""Accelerators by the names that JAX gives them, and TPU slices by theirs."""

import importlib.util

import pytest

from tcl_jax.errors import UserError
from tcl_jax.plan.devices import find_accelerator, topology_mesh


def test_the_longest_name_that_fits_is_the_accelerators():
    assert find_accelerator("TPU v5 lite").memory == 16 * 2**30
    assert find_accelerator("TPU v5").memory == 95 * 2**30
    assert find_accelerator("NVIDIA H200").bfloat16 == 989e12
    assert find_accelerator("cpu") is None


@pytest.mark.parametrize("name", ["v5e", "v9:2x2", "v5e:8", "v5e:2x", "tpu v5e:2x4"])
def test_a_name_that_is_not_of_a_slice(name):
    with pytest.raises(UserError, match=f"--plan_topology is '{name}', expected .* as in v5e:2x4"):
        topology_mesh(name)


def test_without_the_compiler_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the TPU compiler.*pip install 'tcl_jax\[tpu-plan\]'"):
        topology_mesh("v5e:2x4")
