"""Peak memory that a method in PyTorch takes beyond its inputs; of JAX the compiler knows it.

    python -m benchmarks.memory tcl_torch 4096 128 100 float32

On a CPU it is measured in a process of its own: the growth of the resident set, from after a first run on 512 rows to
the peak of the run that counts. On a GPU it is what PyTorch's allocator reports.
"""

import json
import pathlib
import re
import subprocess
import sys

from benchmarks.methods import METHODS, Prepared
from benchmarks.problems import make_problem

FIRST_ROWS = 512  # of the run before the one that counts


def measured_bytes(name: str, size: int, width: int, classes: int, dtype: str) -> int | None:
    """Peak memory of one run of a method on a CPU, None where it cannot be measured."""
    if size <= FIRST_ROWS:
        return None  # hardly more than what libraries keep for themselves
    arguments = [name, *map(str, (size, width, classes)), dtype]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=pathlib.Path(__file__).parents[1],
    )
    if done.returncode:
        return None
    return json.loads(done.stdout.splitlines()[-1])


def peak_on_gpu(prepared: Prepared) -> int:
    """Peak memory of one run."""
    import torch

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    prepared.run()
    return torch.cuda.max_memory_allocated() - before


def _peak(small: Prepared, prepared: Prepared) -> int | None:
    small.run()  # the first run of a process starts threads and libraries, which are not arrays of the method
    clear_refs = pathlib.Path("/proc/self/clear_refs")
    if not clear_refs.exists():
        return None
    clear_refs.write_text("5")  # sets the peak to the present
    before = _status("VmRSS")
    prepared.run()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"^{field}:\s*(\d+) kB", status, re.MULTILINE)[1]) * 1024


def main(name: str, size: str, width: str, classes: str, dtype: str) -> None:
    method = METHODS[name]
    small, prepared = (
        method.prepare(make_problem(n, int(width), int(classes), dtype)) for n in (FIRST_ROWS, int(size))
    )
    print(json.dumps(_peak(small, prepared)))


if __name__ == "__main__":
    main(*sys.argv[1:])
