"""The data set `image_folder`: one folder of image files for each class, as users bring them."""

import concurrent.futures
import functools
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from PIL import Image
from tqdm import tqdm

from tcl_jax.data.class_folders import ImageFile, find_class_folders, shortened
from tcl_jax.data.dataset import Dataset, Split
from tcl_jax.data.decode import decode_image
from tcl_jax.data.lazy import LazyImages
from tcl_jax.data.memory import stays_on_disk
from tcl_jax.data.splits import split_dict, split_positions
from tcl_jax.errors import RunFailed, UserError

NAME = "image_folder"
# Other modes, such as those of 16 bits, would lose most of what they hold.
_CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3}
_READ_SIZE = 512  # files read at a time


class _Header(NamedTuple):
    width: int
    height: int
    channels: int


def load_image_folder(
    data_dir: str | os.PathLike[str],
    *,
    train_split: str = "train",
    test_split: str = "test",
    image_size: int = 0,
    skip_unreadable: bool = False,
    streaming: str = "auto",
) -> Dataset:
    """Opens data_dir/train/<class>/*.jpg|jpeg|png, and test/ or val/ beside it, and reads it into memory if it fits.

    `find_class_folders` says which files count, and in which order. If any of the images is in colour, all become
    colour (a palette counts as colour), else all stay grey.

    Args:
      data_dir: the folder that holds train/.
      train_split, test_split: with TFDS' slicing, as for other data sets.
      image_size: pixels to which every image is scaled and cut, see `decode_image`; 0 for images of one size already.
      skip_unreadable: leave damaged images out, and say so on stderr, instead of refusing them.
      streaming: as in `load_dataset`. Of images that stay on disk only the headers are looked at before training,
        unless damaged ones are to be left out; one that turns out damaged later stops the run.

    Raises:
      UserError: folders that are not as above, damaged images, images of several sizes, or more than fits in memory.
    """
    root = _root(data_dir)
    class_names, splits = find_class_folders(root)
    train_files = _choose(splits, "data.train_split", train_split)
    test_files = _choose(splits, "data.test_split", test_split)

    damaged: dict[str, str] = {}  # name of a file: why it cannot be read
    files = list(dict.fromkeys(train_files + test_files))
    headers = {file.name: header for file, header in _read_all(files, _read_header, "looking at", damaged)}
    shape = _shape(headers, image_size, root)
    lazy = stays_on_disk(NAME, len(train_files) + len(test_files), shape, streaming=streaming)
    decode = functools.partial(_decode, channels=shape[-1], size=image_size)
    if lazy and skip_unreadable:
        for _ in _read_all([file for file in files if file.name in headers], decode, "trying", damaged):
            pass
    read = _open_split if lazy else _read_split
    train, test = (
        read([file for file in part if file.name in headers], decode, shape, damaged)
        for part in (train_files, test_files)
    )
    if damaged:
        _tell_of_damaged(damaged, len(files), root, skip=skip_unreadable)
        for field, part in {"data.train_split": train, "data.test_split": test}.items():
            if not len(part.labels):
                raise UserError(
                    f"None of the images of {field} in {root} can be read: put sound files there."
                )
    return Dataset(NAME, train, test, class_names)


def describe_image_folder(
    data_dir: str | os.PathLike[str], *, train_split: str, image_size: int
) -> tuple[tuple[int, int, int], int, int]:
    """Image shape (h, w, c), number of classes and number of images of the training split, from file names and headers.

    No more than 512 files are looked at, whose order is random. Arguments and errors are those of `load_image_folder`.
    """
    root = _root(data_dir)
    class_names, splits = find_class_folders(root)
    files = _choose(splits, "data.train_split", train_split)
    looked_at = _read_all(files[:_READ_SIZE], _read_header, "looking at", {})
    headers = {file.name: header for file, header in looked_at}
    if not headers:
        raise UserError(
            f"None of the images of data.train_split in {root} can be read: put sound files there."
        )
    return _shape(headers, image_size, root), len(class_names), len(files)


def _root(data_dir: str | os.PathLike[str]) -> epath.Path:
    if not os.fspath(data_dir):
        raise UserError(
            f"data.name is '{NAME}' without data.data_dir: give the folder that holds train/<class>/."
        )
    return epath.Path(data_dir).expanduser()


def _choose(splits: dict[str, list[ImageFile]], field: str, split: str) -> list[ImageFile]:
    sizes = split_dict({name: len(files) for name, files in splits.items()})
    positions = split_positions(sizes, NAME, field, split)
    return [splits[name][position] for name, position in positions]


def _read_header(file: ImageFile) -> _Header:
    with file.path.open("rb") as opened, Image.open(opened) as image:
        if image.mode not in _CHANNELS:
            raise ValueError(f"its pixels are of Pillow's mode {image.mode}, expected 8 bits per channel")
        return _Header(image.width, image.height, _CHANNELS[image.mode])


def _decode(file: ImageFile, *, channels: int, size: int) -> np.ndarray:
    return decode_image(file.path.read_bytes(), channels=channels, size=size)


def _read_all(
    files: list[ImageFile], read: Callable[[ImageFile], Any], doing: str, damaged: dict[str, str]
) -> Iterator[tuple[ImageFile, Any]]:
    """Each file with what `read` makes of it, in order; those that it fails on go to `damaged`."""

    def attempt(file: ImageFile) -> Any:
        try:
            return read(file)
        except Exception as error:  # Pillow's types for a damaged file are many
            reason = str(error).replace(f" {str(file.path)!r}", "")
            damaged[file.name] = textwrap.shorten(reason, width=160, placeholder=" ...")
            return None

    progress = tqdm(
        total=len(files), desc=f"{doing} images", unit=" images", delay=2, leave=False, disable=None
    )
    with progress, concurrent.futures.ThreadPoolExecutor() as pool:  # Pillow decodes without holding the GIL
        for start in range(0, len(files), _READ_SIZE):
            some = files[start : start + _READ_SIZE]
            for file, result in zip(some, pool.map(attempt, some), strict=True):
                if result is not None:
                    yield file, result
            progress.update(len(some))


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


def _read_split(
    files: list[ImageFile],
    decode: Callable[[ImageFile], np.ndarray],
    shape: tuple[int, int, int],
    damaged: dict[str, str],
) -> Split:
    images = np.empty((len(files), *shape), np.uint8)
    labels = np.empty(len(files), np.int32)
    count = 0
    for file, image in _read_all(files, decode, "reading", damaged):
        images[count], labels[count] = image, file.label
        count += 1
    return Split(images[:count], labels[:count])


def _open_split(
    files: list[ImageFile],
    decode: Callable[[ImageFile], np.ndarray],
    shape: tuple[int, int, int],
    damaged: dict[str, str],
) -> Split:
    """As `_read_split`, with the images left on disk."""
    sound = [file for file in files if file.name not in damaged]

    def fetch(position: int) -> np.ndarray:
        try:
            image = decode(sound[position])
            if image.shape != shape:
                raise ValueError(f"its size is {image.shape}, it was {shape} at the start")
            return image
        except Exception as error:  # as in _read_all
            raise RunFailed(
                f"The image {sound[position].path} cannot be read ({error}): replace it and repeat the command, or "
                "leave it out with --config.data.skip_unreadable=True and a new --workdir."
            ) from error

    labels = np.array([file.label for file in sound], np.int32)
    return Split(LazyImages(fetch, range(len(sound)), shape), labels)


def _tell_of_damaged(damaged: dict[str, str], num_files: int, root: epath.Path, *, skip: bool) -> None:
    name, reason = min(damaged.items())
    first = f"{len(damaged)} of {num_files} images in {root} cannot be read, the first is {name} ({reason})"
    if not skip:
        raise UserError(
            f"{first}: replace or remove them, or leave them out with --config.data.skip_unreadable=True."
        )
    print(f"Left out: {first}.", file=sys.stderr)
