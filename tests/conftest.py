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

# Where the tests, and main.py where they start it, keep what took long to compile: not in the home of whoever runs
# them. All processes of one run of the tests find it.
if "TCL_JAX_TESTS_CACHE" not in os.environ:
    os.environ["TCL_JAX_TESTS_CACHE"] = tempfile.mkdtemp(prefix="tcl_jax_tests")
    atexit.register(shutil.rmtree, os.environ["TCL_JAX_TESTS_CACHE"], ignore_errors=True)
os.environ["XDG_CACHE_HOME"] = os.environ["TCL_JAX_TESTS_CACHE"]
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["TCL_JAX_TESTS_CACHE"]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
