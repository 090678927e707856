"""Every test sees eight CPU devices, so that "one device or many" can be asked anywhere.

XLA compiles without its costly optimisations and its fusion emitters, which takes a third of the time: the programs are
small, and compiling them is most of the suite's time.
"""

import atexit
import gc
import importlib
import os
import pathlib
import shutil
import tempfile
import time
import zlib
from importlib.metadata import version

# What is traced and compiled stays for the whole run: looking through it for garbage is a tenth of the time.
gc.set_threshold(200_000, 50, 1000)

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS") or "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        # In one part a program compiles in three quarters of the time. A jaxlib that does not know a flag stops.
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        if version("jaxlib").startswith("0.10.")
        else "",
    ]
)

# Threads of a small product of matrices wait for one another longer than they work, where several tests run at once.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

# Where the tests, and main.py where they start it, keep what took long to compile: not in the home of whoever runs
# them. All processes of one run of the tests find it; the Makefile keeps it from one run to the next.
if "TCL_JAX_TESTS_CACHE" not in os.environ:
    os.environ["TCL_JAX_TESTS_CACHE"] = tempfile.mkdtemp(prefix="tcl_jax_tests")
    atexit.register(shutil.rmtree, os.environ["TCL_JAX_TESTS_CACHE"], ignore_errors=True)
cache = pathlib.Path(os.environ["TCL_JAX_TESTS_CACHE"]).absolute()
os.environ["XDG_CACHE_HOME"] = os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

# It imports JAX, which reads all this; and no module of the library is imported yet.
importlib.import_module("tests.shapes").check()

ZSTD = b"\x28\xb5\x2f\xfd"


def usable(entry: pathlib.Path) -> bool:
    """Whether an entry of the cache is whole and less than two weeks old."""
    try:
        data = entry.read_bytes()
        if not data.startswith(ZSTD):  # which JAX takes where it is installed
            zlib.decompress(data)
        return time.time() - entry.stat().st_mtime < 14 * 24 * 3600
    except (OSError, zlib.error):
        return False


# A process that is killed may leave half an entry, which JAX would neither use nor replace.
if "PYTEST_XDIST_WORKER" not in os.environ:
    for entry in cache.glob("*-cache"):
        if not usable(entry):
            entry.unlink(missing_ok=True)


def pytest_configure(config):
    config.addinivalue_line("markers", "xdist_group(name): tests of one process, also known without xdist")
