"""What a command does to the process before its work begins: the other processes of the run, and caches."""

import os
import sys
import tempfile

import jax

from tcl_jax import processes
from tcl_jax.errors import UserError
from tcl_jax.files import full_path, is_remote


def start_jax(*, joining: tuple[str | None, int | None, int | None] | None, caches: bool) -> None:
    """Join the other processes of the run, if there are any; and keep compiled programs for the next start.

    Args:
      joining: coordinator, number of processes and number of this one, as `processes.start` takes them; None where this
        process works alone.
      caches: whether compiled programs are kept and used.

    Raises:
      UserError: the processes cannot be joined.
    """
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
