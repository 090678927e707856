"""Small files: those that are whole or not there, and those that grow; on disks and in remote storage."""

import contextlib
import errno
import os
from collections.abc import Iterator

from etils import epath

from tcl_jax.errors import WriteFailed


def is_remote(path: epath.PathLike) -> bool:
    """Whether a path is in remote storage, as gs://bucket/run is."""
    return "://" in os.fspath(path)


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """An error of the system while `what` is written becomes a `WriteFailed` that names it."""
    try:
        yield
    except OSError as error:
        raise WriteFailed(what, error) from error


def write_whole(path: epath.Path, text: str) -> None:
    """Replace the file's content at one stroke: a process killed meanwhile leaves the old content or the new.

    Raises:
      WriteFailed: the disk is full, or the folder cannot be written; the old content is still there.
    """
    write_whole_bytes(path, text.encode())


def write_whole_bytes(path: epath.Path, data: bytes) -> None:
    """`write_whole` for content that is not text."""
    partial = path.parent / f"{path.name}.partial"
    try:
        with writing(str(path)):
            partial.write_bytes(data)
            partial.replace(path)
    except WriteFailed:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


class GrowingFile:
    """A file at whose end is written; what was written is in it after each flush.

    Remote storage cannot append: there the whole file, small as it is, is written anew at each flush.

    Args:
      path: an existing file, which is continued, or one to be made where `new` is true.
    """

    def __init__(self, path: epath.Path, *, new: bool = False):
        self._path, self._pending = path, bytearray()
        self._content: bytearray | None = None
        if new:
            path.write_bytes(b"")
        if is_remote(path):
            self._content = bytearray(path.read_bytes())

    def write(self, data: bytes) -> None:
        """Add to the end of the file, at the next flush."""
        self._pending += data

    def flush(self) -> None:
        """Have the file hold all that was written.

        Raises:
          OSError: it cannot be written, or is gone; it is not made anew, with its end only.
        """
        if self._content is None:
            if not self._path.exists():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(self._path))
            with self._path.open("ab") as file:
                file.write(self._pending)
        else:
            self._content += self._pending
            self._path.write_bytes(bytes(self._content))
        self._pending.clear()

    def close(self) -> None:
        """Flush."""
        if self._pending:
            self.flush()
