"""The errors that end a run with one sentence instead of a traceback."""

import errno
import os
import pathlib
import re
import signal
import textwrap
import traceback

# What a full disk answers, a full quota, and a limit on the size of a file.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(ValueError):
    """A mistake in a config, a path or a data set.

    The message is one sentence: what was given, what is expected, what to do. `main.py` prints it without a traceback
    and ends with exit code 2.
    """


class RunFailed(RuntimeError):
    """A run that cannot go on: its numbers are no longer finite, or its checkpoints cannot be written or read.

    The message is one sentence: what happened, what is still usable, what to try. `main.py` ends with exit code 1.
    """


class NotFinite(RunFailed):
    """A run whose loss or parameters are no longer finite."""


class WriteFailed(RunFailed):
    """A part of a run cannot be written.

    Attributes:
      what: the part, as it begins a sentence.
      cause: in a few words.
      disk_full: whether space is what is missing.
      remedy: what to do.
    """

    def __init__(self, what: str, error: BaseException):
        number = _system_error(error)
        self.what = what
        self.cause = in_short(error) if number is None else os.strerror(number)
        self.disk_full = number in DISK_FULL
        todo = "free space" if self.disk_full else "see that it can be written"
        self.remedy = f"{todo} and repeat the command to continue"
        super().__init__(f"{what} cannot be written ({self.cause}): {self.remedy}.")


class Interrupted(Exception):
    """Training was stopped by a signal after its state was saved, or the evaluation of a saved state.

    Attributes:
      signal: SIGINT or SIGTERM.
      step: the step of the checkpoint.
    """

    def __init__(self, number: signal.Signals, step: int, *, evaluating: bool = False):
        super().__init__(
            f"Stopped by {number.name} during the evaluation; the training is saved, up to step {step}: repeat the "
            "command to evaluate it."
            if evaluating
            else f"Stopped by {number.name} after step {step}, which is saved: repeat the command to continue."
        )
        self.signal = number
        self.step = step


def in_short(error: BaseException) -> str:
    """Kind and message of an error of a library, on one line."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", width=160, placeholder=" ...")


def missing_package(error: ModuleNotFoundError) -> str | None:
    """The package that this one imports in vain; None where somebody else's module does, or a module is mistyped."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    ours = pathlib.Path(frames[-1].filename).is_relative_to(pathlib.Path(__file__).parent)
    package = (error.name or "").partition(".")[0]
    return package if ours and package not in ("", "tcl_jax") else None


def _system_error(error: BaseException) -> int | None:
    """The system's number of an error, which TensorStore, the writer of checkpoints, gives in its message."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None
