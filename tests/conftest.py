"""Every test sees eight CPU devices, so that "one device or many" can be asked anywhere.

XLA compiles without its costly optimisations: the programs are small, and compiling them is most of the suite's time.
"""

import atexit
import os
import shutil
import tempfile

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS") or "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
    ]
)

# Where main.py, which some tests start, keeps what it has compiled: not in the home of whoever runs the tests.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="tcl_jax_tests")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
