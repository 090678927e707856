"""What is printed never ends a run."""

import errno
import io
import os
import sys
from typing import Any


def print_always() -> None:
    """From here on stdout and stderr take everything, in any locale and whoever has ceased to read them.

    What the encoding lacks is printed as \\xe9. What goes into a pipe whose other end is closed, as by `| head`, or to
    a terminal that is gone is dropped, and the program goes on: a run saves what it has trained.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started the program
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (until the process ends)
            continue
        stream.flush()
        output: Any = _Output(stream.fileno(), "w", closefd=False)
        text = io.TextIOWrapper(
            output if stream.write_through else io.BufferedWriter(output),
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, text)


class _Output(io.FileIO):
    """A file descriptor that becomes that of os.devnull when nobody reads it any more."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)
