"""Paths as people type them, and small files, whole ones and growing ones, on disks and in remote storage."""

import contextlib
import errno
import os
import pathlib
import sys
import unicodedata
from collections.abc import Iterator

from etils import epath

from tcl_jax.errors import UserError, WriteFailed

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


def packaged(folder: str) -> pathlib.Path:
    """A folder that the wheel has in the package and a checkout has beside it."""
    package = pathlib.Path(__file__).parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


def is_remote(path: epath.PathLike) -> bool:
    """Whether a path is in remote storage, as gs://bucket/run is."""
    return "://" in os.fspath(path)


def full_path(path: epath.PathLike, field: str) -> epath.Path:
    """The absolute path that `field` names, with the home folder for ~; that of remote storage as it is.

    Raises:
      UserError: it begins with ~, and that user has no home folder.
    """
    if is_remote(path):
        return epath.Path(path)
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise UserError(
            f"{field} is '{os.fspath(path)}', a home folder that does not exist: give the whole path."
        )
    return epath.Path(os.path.abspath(expanded))


def utf8_path(path: epath.PathLike, field: str) -> epath.Path:
    """`full_path` for what libraries in C++ read or write, which take every name for UTF-8.

    Raises:
      UserError: as `full_path`, or the name is another one to them than to Python in this locale.
    """
    found = full_path(path, field)
    text = os.fspath(found)
    if text.encode(errors="surrogatepass") != os.fsencode(text):
        raise UserError(
            f"{field} is '{readable(text)}', which is not UTF-8 by the locale (its encoding of names is "
            f"{sys.getfilesystemencoding()}): set LC_ALL=C.UTF-8 and PYTHONUTF8=1, or give another path."
        )
    return found


def readable(name: str | os.PathLike[str]) -> str:
    """A path or a part of one as text that can be printed and stored, the same on any machine.

    Bytes that are not UTF-8, and control characters, become \\xNN; accents are joined to their letters (NFC).
    """
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:  # of remote storage, in a locale that lacks the letters
        encoded = os.fspath(name).encode()
    text = encoded.decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text.translate(_CONTROLS))


def to_utf8(text: str) -> bytes:
    """UTF-8 of a text that may hold names of files, of which the locale decoded what it could; errors as above."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace").encode()


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
    write_whole_bytes(path, to_utf8(text))


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
