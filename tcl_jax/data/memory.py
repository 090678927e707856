"""Whether a data set is read into memory or streamed, decided before it is read."""

import math
import os
import pathlib

from tcl_jax.errors import UserError

_SHARE = 0.8  # of the free memory; the rest is for the program itself
_MEMINFO = pathlib.Path("/proc/meminfo")
_CGROUP_LIMIT = pathlib.Path("/sys/fs/cgroup/memory.max")


STREAMING = ("auto", "yes", "no")


def stays_on_disk(name: str, num_images: int, shape: tuple[int, ...], *, streaming: str) -> bool:
    """Whether images are to be read when they are needed, instead of all at the start into uint8 arrays.

    Args:
      name: of the data set, for the message.
      num_images: of both splits.
      shape: (h, w, c) of one image.
      streaming: one of STREAMING; "auto" is "yes" for arrays that take more than 80 % of the memory that is free.

    Raises:
      UserError: streaming is another word, or "no" where the arrays do not fit.
    """
    if streaming not in STREAMING:
        raise UserError(f"data.streaming is '{streaming}', expected one of {', '.join(STREAMING)}.")
    needed, limit = num_images * math.prod(shape), int(_SHARE * free_memory())
    if streaming == "no" and needed > limit:
        raise UserError(
            f"The data set '{name}' takes {_gigabytes(needed)} in memory ({num_images:,} images of "
            f"{'x'.join(map(str, shape))} bytes), expected at most {_gigabytes(limit)}, which is 80 % of what is free: "
            "leave it on disk with data.streaming=auto, or give a smaller data.image_size."
        )
    return streaming == "yes" or (streaming == "auto" and needed > limit)


def free_memory() -> int:
    """Bytes that this process may still take, as far as the system tells: Linux's estimate, a container's limit."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if _MEMINFO.exists():
        lines = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
        free = min(free, int(lines["MemAvailable"].split()[0]) * 1024)
    if _CGROUP_LIMIT.exists() and (limit := _CGROUP_LIMIT.read_text().strip()).isdigit():
        free = min(free, int(limit))
    return free


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.3g} MB"
