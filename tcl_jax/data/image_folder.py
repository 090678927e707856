"""The data set `image_folder`: one folder of image files for each class, as users bring them."""

import functools
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tcl_jax.data.class_folders import ClassFolders, ImageFile, find_class_folders, shortened
from tcl_jax.data.dataset import BLOCK, Dataset, DatasetFacts, Options
from tcl_jax.data.decode import channels_of, decode_image, upright_size
from tcl_jax.data.identity import digest
from tcl_jax.data.lazy import stays_on_disk
from tcl_jax.data.source import Source, make_split, map_records
from tcl_jax.data.splits import split_dict, train_and_test
from tcl_jax.errors import RunFailed, UserError
from tcl_jax.files import full_path, readable

NAME = "image_folder"


class _Header(NamedTuple):
    num_bytes: int
    width: int
    height: int
    channels: int


def load(name: str, options: Options) -> Dataset:
    """Open the images of data_dir/train/<class>/, and test/ or val/ beside it, and read them into memory if they fit.

    `find_class_folders` says which files count, and in which order; one line on stderr says how many do not. If any of
    the images is in colour, all become colour (a palette counts as colour), else all stay grey. Images that are in no
    class folders have no class, and allow no test split. Of images that stay on disk only the headers are looked at
    before training, unless damaged ones are to be left out; one that turns out damaged later stops the run.

    Args:
      name: NAME.
      options: as in `load_dataset`; data_dir is the folder that holds train/, or images alone.

    Raises:
      UserError: folders that are not as above, damaged images, a class of which no image can be read, images of several
        sizes, or more than fits in memory.
    """
    root, (class_names, splits, others) = _find(options)
    if others:
        first = (
            f"by their names {len(others)} of the files in {root} are not images, the first is {min(others)}"
        )
        print(f"Left out: {first}.", file=sys.stderr)
    parts = dict(zip(options.splits, _choose(splits, options), strict=False))
    without = [file.name for file in parts.get("data.test_split", []) if file.label < 0]
    if without:
        raise _no_class(options.test_split, without, root)

    damaged: dict[ImageFile, str] = {}  # why it cannot be read
    files = list(dict.fromkeys(file for part in parts.values() for file in part))
    read_header = functools.partial(_read_header, size=options.image_size)
    headers = dict(_sound(files, read_header, "looking at images", damaged))
    shape = _shape(headers, options.image_size, root)
    lazy = stays_on_disk(name, sum(map(len, parts.values())), shape, streaming=options.streaming)
    decode = functools.partial(_decode, size=options.image_size, shape=shape)
    if lazy and options.skip_unreadable:
        for _ in _sound(list(headers), decode, "trying images", damaged):
            pass
    image_of = (
        functools.partial(_decode_or_stop, decode) if lazy else functools.partial(_attempt, decode, damaged)
    )
    loaded = {}
    for field, part in parts.items():
        sound = [file for file in part if file not in damaged]
        loaded[field] = make_split(Source("images", len(sound), _reader(sound), image_of, shape), lazy=lazy)
    if damaged:
        _report_damaged(damaged, len(files), root, skip=options.skip_unreadable)
        for field, split in loaded.items():
            if not len(split.labels):
                raise _none_readable(field, root)
        _require_images_of_each_class(parts["data.train_split"], damaged, class_names, root)
    digests = [_digest([file for file in part if file not in damaged], headers) for part in parts.values()]
    return Dataset(
        name,
        train=loaded["data.train_split"],
        test=loaded.get("data.test_split"),
        class_names=class_names,
        files=tuple(digests),
    )


def facts(name: str, options: Options) -> DatasetFacts:
    """What is known of the training split from file names and the headers of no more than 512 files.

    Their order is random, so that these stand for all. Arguments and errors are those of `load`.
    """
    root, (class_names, splits, _) = _find(options)
    files, _ = _choose(splits, options)
    read_header = functools.partial(_read_header, size=options.image_size)
    headers = dict(_sound(files[:BLOCK], read_header, "looking at images", {}))
    if not headers:
        raise _none_readable("data.train_split", root)
    return DatasetFacts(
        _shape(headers, options.image_size, root), len(class_names), len(files), "files counted"
    )


def _find(options: Options) -> tuple[str, ClassFolders]:
    """The path of the folder, for messages, and what is in it."""
    if not os.fspath(options.data_dir):
        raise UserError(
            f"data.name is '{NAME}' without data.data_dir: give the folder that holds train/<class>/."
        )
    path = full_path(options.data_dir, "data.data_dir")
    root, found = readable(path), find_class_folders(path)
    if options.test_split and not found.class_names:
        raise _no_class(options.test_split, [file.name for file in found.splits["train"]], root)
    return root, found


def _no_class(test_split: str, names: list[str], root: str) -> UserError:
    """The error for test images without a class, which are of no use."""
    return UserError(
        f"data.test_split is '{test_split}', but {len(names)} images in {root} are in no class folder, such as "
        f"{min(names)}: train without evaluation, by --config.data.test_split='', or put the images of each class into "
        "a folder of its own, train/<class>/ or test/<class>/."
    )


def _choose(splits: dict[str, list[ImageFile]], options: Options) -> tuple[list[ImageFile], list[ImageFile]]:
    sizes = split_dict({name: len(files) for name, files in splits.items()})
    return train_and_test(sizes, NAME, options, image=lambda split, position: splits[split][position])


def _require_images_of_each_class(
    files: list[ImageFile], damaged: dict[ImageFile, str], class_names: tuple[str, ...], root: str
) -> None:
    """Refuse to go on with a class whose training images are all damaged."""
    sound = {file.label for file in files if file not in damaged}
    lost = sorted({file.label for file in files} - sound - {-1})
    if lost:
        names = shortened([class_names[label] for label in lost])
        raise UserError(
            f"No training image of {len(lost)} of the {len(class_names)} classes in {root} ({names}) can be read: put "
            "sound images there, or remove the folders of these classes."
        )


def _read_header(file: ImageFile, *, size: int) -> _Header:
    with file.path.open("rb") as opened, Image.open(opened) as image:
        channels = channels_of(image)
        # Where all are scaled to one size, nobody asks for that of the file.
        width, height = image.size if size else upright_size(image)
        return _Header(opened.seek(0, os.SEEK_END), width, height, channels)


def _digest(files: list[ImageFile], headers: dict[ImageFile, _Header]) -> str:
    """Of what is known of files before they are decoded."""
    return digest([f"{file.name}\t{headers[file].num_bytes}\t{file.label}" for file in files])


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
            f"The image {readable(file.path)} cannot be read ({error}): replace it and repeat the command, or "
            "leave it out with --config.data.skip_unreadable=True and a new --workdir."
        ) from error


def _attempt(read: Callable[[ImageFile], Any], damaged: dict[ImageFile, str], file: ImageFile) -> Any:
    """What `read` makes of a file; None if it fails, and then the reason goes to `damaged`."""
    try:
        return read(file)
    except Exception as error:  # as in `_decode_or_stop`
        reason = str(error).replace(f" {str(file.path)!r}", "")
        damaged[file] = textwrap.shorten(reason, width=160, placeholder=" ...")
        return None


def _sound(
    files: list[ImageFile], read: Callable[[ImageFile], Any], title: str, damaged: dict[ImageFile, str]
) -> Iterator[tuple[ImageFile, Any]]:
    """Each file with what `read` makes of it, in order; those that it fails on go to `damaged`."""
    attempt = functools.partial(_attempt, read, damaged)
    results = map_records(attempt, _reader(files), len(files), title)
    return ((file, result) for file, result in results if result is not None)


def _reader(files: list[ImageFile]) -> Callable[[Sequence[int]], list[ImageFile]]:
    return lambda positions: [files[position] for position in positions]


def _shape(headers: dict[ImageFile, _Header], image_size: int, root: str) -> tuple[int, int, int]:
    """Height, width and channels that all images shall have."""
    channels = max((header.channels for header in headers.values()), default=1)
    sizes = {(header.width, header.height): file.name for file, header in headers.items()}
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


def _report_damaged(damaged: dict[ImageFile, str], num_files: int, root: str, *, skip: bool) -> None:
    file = min(damaged, key=lambda file: file.name)
    first = f"{len(damaged)} of {num_files} images in {root} cannot be read, the first is {file.name} ({damaged[file]})"
    if not skip:
        raise UserError(
            f"{first}: replace or remove them, or leave them out with --config.data.skip_unreadable=True."
        )
    print(f"Left out: {first}.", file=sys.stderr)


def _none_readable(field: str, root: str) -> UserError:
    return UserError(f"None of the images of {field} in {root} can be read: put sound files there.")
