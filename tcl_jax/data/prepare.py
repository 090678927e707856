"""Finds a prepared TFDS data set, or prepares it where that is possible."""

import contextlib
import difflib
import glob
import importlib.util
import io
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from typing import Any

from etils import epath

from tcl_jax.errors import UserError
from tcl_jax.files import utf8_path

# name, name/config, name:version or name/config:version; the rest of TFDS' grammar reaches for the network.
_NAME = re.compile(r"(?P<base>[A-Za-z]\w*)(/[\w.\-+]+)?(?P<version>:\d[\d.*]*)?")
_DATA_FORMAT = "array_record"  # the format with random access


def open_prepared(name: str, data_dir: str | os.PathLike[str] = "") -> Any:
    """The TFDS builder of a prepared data set, which is prepared first where that is possible.

    Args:
      name: as in TFDS, "cifar10", "imagenet_resized/64x64" or "cifar10:3.0.2"; without a version the newest prepared
        one is taken.
      data_dir: "" means TFDS' default, $TFDS_DATA_DIR or ~/tensorflow_datasets; without a home folder that of
        temporary files stands for it, and a line on stderr says so.

    Raises:
      UserError: the name is unknown, data_dir is a file or not UTF-8, or the data set cannot be prepared.
    """
    folder = _data_folder(data_dir)
    builder = _open(name, folder)
    return builder if _is_prepared(builder) else _prepare(builder, name, folder)


def find_prepared(name: str, data_dir: str | os.PathLike[str] = "") -> tuple[Any, bool]:
    """The TFDS builder of a data set, and whether it is prepared; nothing is prepared here.

    Arguments and errors are those of `open_prepared`, but for those of preparing.
    """
    builder = _open(name, _data_folder(data_dir))
    return builder, _is_prepared(builder)


def other_prepared(name: str, data_dir: str | os.PathLike[str]) -> UserError | None:
    """The error for a data set of which only other versions or configs are prepared; None where none are."""
    folder = _data_folder(data_dir)
    base = re.split("[/:]", name)[0]
    if not re.fullmatch(r"\w+", base):
        return None
    found = [
        path.parent
        for depth in ("*", "*/*")
        for path in epath.Path(glob.escape(str(folder / base))).glob(f"{depth}/dataset_info.json")
    ]
    names = sorted(f"{'/'.join(path.parent.relative_to(folder).parts)}:{path.name}" for path in found)
    if not names:
        return None
    return UserError(
        f"data.name is '{name}', which is not prepared in {folder}, expected one of {', '.join(names)}."
    )


def _data_folder(data_dir: str | os.PathLike[str]) -> epath.Path:
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    if not os.fspath(data_dir) and os.path.expanduser(default).startswith("~"):  # as in containers
        default = os.path.join(tempfile.gettempdir(), "tensorflow_datasets")
        print(
            f"data.data_dir is not set, and there is no home folder: data sets are looked for in {default}.",
            file=sys.stderr,
        )
    folder = utf8_path(data_dir or default, "data.data_dir")
    if folder.is_file():
        raise UserError(
            f"data.data_dir is '{folder}', which is a file, expected a folder: give the folder that holds "
            "the prepared data sets."
        )
    return folder


def _open(name: str, folder: epath.Path) -> Any:
    """The builder of `name`, prepared or not."""
    import tensorflow_datasets as tfds  # takes half a second, and only reading data needs it

    own = _own_builders()
    match = _NAME.fullmatch(name)
    if match is None:
        raise other_prepared(name, folder) or _unknown_name(name, folder, tfds)
    if not match["version"]:
        # A version makes TFDS look at the files before it looks for code: then a prepared data set opens
        # without its code, and without the packages that this code imports.
        name += f":{own[name].VERSION}" if name in own else ":*.*.*"
    try:
        return tfds.builder(name, data_dir=folder)
    except Exception as error:
        given = name.removesuffix(":*.*.*")
        other = other_prepared(given, folder)
        if other is not None:
            raise other from error
        if isinstance(error, tfds.core.DatasetNotFoundError):
            raise _unknown_name(given, folder, tfds) from None
        if isinstance(error, ImportError):  # some builders need TensorFlow only to describe themselves
            raise _not_prepared(given, folder) from error
        raise UserError(  # unknown configs and versions: ValueError, AssertionError and more
            f"data.name is '{given}', which TFDS refuses ({_in_short(error)}): correct data.name, or data.data_dir, "
            f"which is {folder}."
        ) from error


def _own_builders() -> dict[str, Any]:
    """The builders that TFDS lacks, by name; importing them makes them known to it. They need no TensorFlow."""
    from tcl_jax.data.digits import Digits
    from tcl_jax.data.imagenet100 import Imagenet100

    return {builder.name: builder for builder in (Digits, Imagenet100)}


def _is_prepared(builder: Any) -> bool:
    return bool(builder.info.splits)  # read from the folder; TFDS' own is_prepared() logs warnings


def _prepare(builder: Any, name: str, folder: epath.Path) -> Any:
    import tensorflow_datasets as tfds

    from tcl_jax.data.imagenet100 import find_imagenet

    if builder.name not in _own_builders() and importlib.util.find_spec("tensorflow") is None:
        raise other_prepared(name, folder) or _not_prepared(name, folder)
    options: dict[str, Any] = {"try_download_gcs": False}
    if builder.name == "imagenet100":
        options["manual_dir"] = find_imagenet(folder)
    try:
        with _silence() if builder.name == "digits" else contextlib.nullcontext():
            builder.download_and_prepare(
                file_format=_DATA_FORMAT, download_config=tfds.download.DownloadConfig(**options)
            )
    except Exception as error:  # no network, no space, no permission, a manual download: the types are many
        # TFDS moves the finished folder into place, which fails if another process did so first. Opened anew,
        # because this builder knows its splits already, wherever it failed.
        builder = _open(name, folder)
        if not _is_prepared(builder):
            raise UserError(
                f"Preparing the data set '{name}' in {folder} failed ({_in_short(error)}): remove the "
                "cause and repeat the command, or point data.data_dir at a folder that can be written or "
                "already holds it."
            ) from error
    if not _is_prepared(builder):  # TFDS leaves a folder alone that is there already, whatever is in it
        raise UserError(
            f"The folder {builder.data_dir} holds no complete data set: delete it and repeat the command."
        )
    return builder


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps back what TFDS prints: a line on stdout and several progress bars on stderr."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _not_prepared(name: str, folder: epath.Path) -> UserError:
    return UserError(
        f"The data set '{name}' is not prepared in {folder}: install TensorFlow, which TFDS needs to prepare "
        "it (pip install tensorflow-cpu), and repeat the command, or prepare it elsewhere and copy it "
        "there, or point data.data_dir at the folder that holds it."
    )


def _unknown_name(name: str, folder: epath.Path, tfds: Any) -> UserError:
    known = tfds.list_builders(with_community_datasets=False)
    if folder.is_dir():
        known += [path.name for path in folder.iterdir() if path.is_dir()]
    nearest = difflib.get_close_matches(name, sorted(set(known)))
    return UserError(
        f"data.name is '{name}', which is neither a data set of TFDS nor one prepared in {folder}: "
        f"give a name such as {', '.join(nearest or ['digits', 'cifar10', 'cifar100'])}."
    )


def _in_short(error: Exception) -> str:
    # Leaves out how TFDS introduces an error of a builder, and the version that `_open` adds.
    text = " ".join(str(error).split()).rpartition('}": ')[2].replace(" with version *.*.*", "").rstrip(".")
    return textwrap.shorten(f"{type(error).__name__}: {text}", width=240, placeholder=" ...")
