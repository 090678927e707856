"""Environment that affects bit-exact reproducibility: versions, devices, cores."""

import importlib.metadata
import os
import platform
from typing import Any

import jax

import tcl_jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that compute or read."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"tcl_jax": tcl_jax.__version__, "python": platform.python_version(), **found}


def devices() -> dict[str, Any]:
    """Platform, kind and number of the devices in use."""
    return {
        "platform": jax.default_backend(),
        "kind": jax.devices()[0].device_kind,
        "count": jax.device_count(),
    }


def describe() -> dict[str, Any]:
    """Versions, devices, the processor cores this process may use, and the number of processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "versions": versions(),
        "devices": devices(),
        "cores": cores,
        "processes": jax.process_count(),
    }
