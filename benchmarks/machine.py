"""What the figures were measured on. No name of a host, a user or a folder."""

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import re

import jax

PACKAGES = ("jax", "jaxlib", "libtpu", "torch", "pytorch-metric-learning", "optax", "numpy")


def on_gpu() -> bool:
    return jax.default_backend() == "gpu"


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name() -> str:
    """For a file name: "cpu", or the kind of the accelerator."""
    kind = jax.devices()[0].device_kind
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")


def free_memory() -> int:
    """Bytes that new arrays may take, on the device of JAX."""
    stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats:
        # Three quarters of the device by default. Each framework keeps what it once took, so both must find room.
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return _meminfo("MemAvailable") or _total_memory()


def load() -> float | None:
    """Processes that wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def describe() -> dict[str, object]:
    """The machine and the versions, for the record of a run."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device": "CPU" if device.platform == "cpu" else device.device_kind,
        "processor": _processor(),
        "cores": num_cores(),
        "memory_gb": round(_total_memory() / 1e9, 1),
        "system": platform.system(),
        "versions": versions,
    }


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


def _processor() -> str:
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if match:
            return match[1]
    return platform.processor() or platform.machine()


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _meminfo(field: str) -> int | None:
    meminfo = pathlib.Path("/proc/meminfo")
    match = (
        re.search(rf"^{field}:\s*(\d+) kB", meminfo.read_text(), re.MULTILINE) if meminfo.exists() else None
    )
    return int(match[1]) * 1024 if match else None
