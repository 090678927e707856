"""What a command does to the process before its work begins: the other processes of the run, memory and caches."""

import ctypes
import os
import sys
import tempfile

import jax

from tcl_jax import processes
from tcl_jax.errors import UserError
from tcl_jax.files import full_path, is_remote

# Options of glibc's mallopt, by malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def start_jax(*, joining: tuple[str | None, int | None, int | None] | None, caches: bool) -> None:
    """Join the other processes of the run, if there are any; keep freed memory, and compiled programs.

    Args:
      joining: coordinator, number of processes and number of this one, as `processes.start` takes them; None where this
        process works alone.
      caches: whether compiled programs are kept and used.

    Raises:
      UserError: the processes cannot be joined.
    """
    keep_freed_memory()
    if joining is not None:
        processes.start(*joining)
    if not processes.is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8", errors="replace")  # noqa: SIM115 (until the process ends)
        os.environ["TQDM_DISABLE"] = "1"
    if not caches:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    try:
        cache = _make_cache()
    except (UserError, OSError) as error:
        jax.config.update("jax_enable_compilation_cache", False)
        if processes.is_first():
            cause = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else "no home folder"
            variable = (
                "JAX_COMPILATION_CACHE_DIR" if "JAX_COMPILATION_CACHE_DIR" in os.environ else "XDG_CACHE_HOME"
            )
            print(
                f"Compiled programs are not kept for the next start ({cause}): set {variable} to a folder that can be "
                "written.",
                file=sys.stderr,
            )
    else:
        jax.config.update("jax_compilation_cache_dir", cache)


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, for what it allocates next; where the C library is glibc.

    A training step on a CPU takes hundreds of megabytes and frees them. glibc gives such blocks back to the system,
    which has to clear each page again in the next step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, -1)  # the end of the heap stays
        mallopt(_MMAP_MAX, 0)  # large blocks are of the heap, too
        mallopt(_ARENA_MAX, 1)  # and of the same one in all threads: those of others are too small for them


def _make_cache() -> str:
    """The folder of compiled programs, which can be written.

    Raises:
      UserError, OSError: there is none.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")  # which JAX itself reads
    if given and is_remote(given):
        return given
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(caches):  # which is to be ignored, its specification says
        caches = "~/.cache"
    folder = full_path(given or f"{caches}/tcl_jax", "the folder of caches")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return str(folder)
