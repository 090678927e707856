"""The data set `image_folder`: one folder of image files for each class, as users bring them."""

import functools
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from PIL import Image

from tcl_jax.data.class_folders import ImageFile, find_class_folders, shortened
from tcl_jax.data.dataset import BLOCK, Dataset, DatasetFacts, Options
from tcl_jax.data.decode import decode_image
from tcl_jax.data.lazy import stays_on_disk
from tcl_jax.data.source import Source, make_split, map_records
from tcl_jax.data.splits import split_dict, train_and_test
from tcl_jax.errors import RunFailed, UserError

NAME = "image_folder"
# Other modes, such as those of 16 bits, would lose most of what they hold.
_CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3}


class _Header(NamedTuple):
    width: int
    height: int
    channels: int


def load(name: str, options: Options) -> Dataset:
    """Open data_dir/train/<class>/*.jpg|jpeg|png, and test/ or val/ beside it, and read it into memory if it fits.

    `find_class_folders` says which files count, and in which order. If any of the images is in colour, all become
    colour (a palette counts as colour), else all stay grey. Of images that stay on disk only the headers are looked at
    before training, unless damaged ones are to be left out; one that turns out damaged later stops the run.

    Args:
      name: NAME.
      options: as in `load_dataset`; data_dir is the folder that holds train/.

    Raises:
      UserError: folders that are not as above, damaged images, images of several sizes, or more than fits in memory.
    """
    root = _root(options.data_dir)
    class_names, splits = find_class_folders(root)
    train_files, test_files = _choose(splits, options)

    damaged: dict[str, str] = {}  # name of a file: why it cannot be read
    files = list(dict.fromkeys(train_files + test_files))
    headers = {
        file.name: header for file, header in _sound(files, _read_header, "looking at images", damaged)
    }
    shape = _shape(headers, options.image_size, root)
    lazy = stays_on_disk(name, len(train_files) + len(test_files), shape, streaming=options.streaming)
    decode = functools.partial(_decode, size=options.image_size, shape=shape)
    if lazy and options.skip_unreadable:
        for _ in _sound([file for file in files if file.name in headers], decode, "trying images", damaged):
            pass
    image_of = (
        functools.partial(_decode_or_stop, decode) if lazy else functools.partial(_attempt, decode, damaged)
    )
    kept = [[file for file in part if file.name not in damaged] for part in (train_files, test_files)]
    train, test = (
        make_split(Source("images", len(part), _reader(part), image_of, shape), lazy=lazy) for part in kept
    )
    if damaged:
        _report_damaged(damaged, len(files), root, skip=options.skip_unreadable)
        for field, part in {"data.train_split": train, "data.test_split": test}.items():
            if not len(part.labels):
                raise _none_readable(field, root)
    return Dataset(name, train, test, class_names)


def facts(name: str, options: Options) -> DatasetFacts:
    """What is known of the training split from file names and the headers of no more than 512 files.

    Their order is random, so that these stand for all. Arguments and errors are those of `load`.
    """
    root = _root(options.data_dir)
    class_names, splits = find_class_folders(root)
    files, _ = _choose(splits, options)
    looked_at = _sound(files[:BLOCK], _read_header, "looking at images", {})
    headers = {file.name: header for file, header in looked_at}
    if not headers:
        raise _none_readable("data.train_split", root)
    return DatasetFacts(
        _shape(headers, options.image_size, root), len(class_names), len(files), "files counted"
    )


def _root(data_dir: str | os.PathLike[str]) -> epath.Path:
    if not os.fspath(data_dir):
        raise UserError(
            f"data.name is '{NAME}' without data.data_dir: give the folder that holds train/<class>/."
        )
    return epath.Path(data_dir).expanduser()


def _choose(splits: dict[str, list[ImageFile]], options: Options) -> tuple[list[ImageFile], list[ImageFile]]:
    sizes = split_dict({name: len(files) for name, files in splits.items()})
    return train_and_test(sizes, NAME, options, image=lambda split, position: splits[split][position])


def _read_header(file: ImageFile) -> _Header:
    with file.path.open("rb") as opened, Image.open(opened) as image:
        if image.mode not in _CHANNELS:
            raise ValueError(f"its pixels are of Pillow's mode {image.mode}, expected 8 bits per channel")
        return _Header(image.width, image.height, _CHANNELS[image.mode])


def _decode(file: ImageFile, *, size: int, shape: tuple[int, int, int]) -> np.ndarray:
    image = decode_image(file.path.read_bytes(), channels=shape[-1], size=size)
    if image.shape != shape:
        raise ValueError(f"its size is {image.shape}, it was {shape} at the start")
    return image


def _decode_or_stop(decode: Callable[[ImageFile], np.ndarray], file: ImageFile) -> np.ndarray:
    """The image of a file that was sound, as far as anybody looked, when the run began."""
    try:
        return decode(file)
    except Exception as error:  # Pillow's types for a damaged file are many
        raise RunFailed(
            f"The image {file.path} cannot be read ({error}): replace it and repeat the command, or leave it out with "
            "--config.data.skip_unreadable=True and a new --workdir."
        ) from error


def _attempt(read: Callable[[ImageFile], Any], damaged: dict[str, str], file: ImageFile) -> Any:
    """What `read` makes of a file; None if it fails, and then the reason goes to `damaged`."""
    try:
        return read(file)
    except Exception as error:  # as in `_decode_or_stop`
        reason = str(error).replace(f" {str(file.path)!r}", "")
        damaged[file.name] = textwrap.shorten(reason, width=160, placeholder=" ...")
        return None


def _sound(
    files: list[ImageFile], read: Callable[[ImageFile], Any], title: str, damaged: dict[str, str]
) -> Iterator[tuple[ImageFile, Any]]:
    """Each file with what `read` makes of it, in order; those that it fails on go to `damaged`."""
    attempt = functools.partial(_attempt, read, damaged)
    results = map_records(attempt, _reader(files), len(files), title)
    return ((file, result) for file, result in results if result is not None)


def _reader(files: list[ImageFile]) -> Callable[[Sequence[int]], list[ImageFile]]:
    return lambda positions: [files[position] for position in positions]


def _shape(headers: dict[str, _Header], image_size: int, root: epath.Path) -> tuple[int, int, int]:
    """Height, width and channels that all images shall have."""
    channels = max((header.channels for header in headers.values()), default=1)
    sizes = {(header.width, header.height): name for name, header in headers.items()}
    if image_size or not sizes:
        return image_size, image_size, channels
    if len(sizes) > 1:
        examples = [f"{width}x{height} as {name}" for (width, height), name in sorted(sizes.items())]
        raise UserError(
            f"The images in {root} have {len(sizes)} sizes ({shortened(examples)}), expected one: set "
            "data.image_size, as in --config.data.image_size=64, to scale and cut all to one."
        )
    ((width, height),) = sizes
    return height, width, channels


def _report_damaged(damaged: dict[str, str], num_files: int, root: epath.Path, *, skip: bool) -> None:
    name, reason = min(damaged.items())
    first = f"{len(damaged)} of {num_files} images in {root} cannot be read, the first is {name} ({reason})"
    if not skip:
        raise UserError(
            f"{first}: replace or remove them, or leave them out with --config.data.skip_unreadable=True."
        )
    print(f"Left out: {first}.", file=sys.stderr)


def _none_readable(field: str, root: epath.Path) -> UserError:
    return UserError(f"None of the images of {field} in {root} can be read: put sound files there.")
