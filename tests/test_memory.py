"""What a command does about the memory that it frees."""

import platform
import subprocess
import sys

import pytest

# Page faults while a thread takes, fills and frees 80 MB once more, each page of 4 KiB of which would be one.
_FAULTS = """
import resource
from concurrent.futures import ThreadPoolExecutor

from tcl_jax.command_line.start import keep_freed_memory


def fill():
    bytearray(b"x") * 80_000_000


keep_freed_memory()
with ThreadPoolExecutor(1) as pool:
    pool.submit(fill).result()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pool.submit(fill).result()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the options")
def test_memory_that_was_freed_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", _FAULTS], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1_000
