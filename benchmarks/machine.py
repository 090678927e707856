"""What a benchmark runs on. No name of a host, a user or a folder."""

import concurrent.futures
import importlib.metadata
import importlib.util
import multiprocessing
import os
import pathlib
import platform
import re
from typing import Any

import jax

from tcl_jax.data.lazy import free_memory as free_memory_of_system
from tcl_jax.run import environment

_PEERS = ("libtpu", "torch", "pytorch-metric-learning", "open-clip-torch")


def on_gpu() -> bool:
    return jax.default_backend() == "gpu"


def num_cores() -> int:
    """Cores that this process may use."""
    return environment.describe()["cores"]


def device_name() -> str:
    """For a file name: "cpu", or the kind of the accelerator."""
    return in_file_name(environment.devices()["kind"])


def in_file_name(device: str) -> str:
    """A device as file names have it.

    >>> in_file_name("NVIDIA H200")
    'nvidia-h200'
    """
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def free_memory() -> int:
    """Bytes that new arrays may take, on the device of JAX."""
    stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    # Three quarters of the device by default. Each framework keeps what it once took, so both must find room.
    return stats["bytes_limit"] - stats["bytes_in_use"] if stats else free_memory_of_system()


def load() -> float | None:
    """Processes that wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def describe() -> dict[str, Any]:
    """The machine and the versions, for a record."""
    found = environment.describe()
    kind, backend = found["devices"]["kind"], found["devices"]["platform"]
    return {
        "platform": backend,
        "device": "CPU" if backend == "cpu" else kind,
        "processor": _processor(),
        "cores": found["cores"],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.system(),
        "versions": found["versions"] | {peer: _version(peer) for peer in _PEERS},
    }


def describe_elsewhere() -> dict[str, Any]:
    """`describe` by a process of its own: one that asks JAX for an accelerator takes its memory until it ends."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(describe).result()


def missing(packages: tuple[str, ...]) -> str | None:
    """Why a method that needs these packages cannot run here, or None."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            return f"{package.replace('_', '-')} is not installed"
    if "torch" in packages and on_gpu():
        import torch

        if not torch.cuda.is_available():
            return "PyTorch has no CUDA here, and a GPU is not compared with a CPU"
    return None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    found = cpuinfo.exists() and re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
