"""Which image files are in train/<class>/ and test/<class>/, in an order that is fixed by their names."""

import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from etils import epath
from PIL import Image
from PIL.ImageFile import StubImageFile

from tcl_jax.errors import UserError
from tcl_jax.files import is_remote, readable

_LEFT_BY_SYSTEMS = ("Thumbs.db", "desktop.ini", "__MACOSX")
_NOT_BY_PILLOW = ("EPS", "MPEG")  # Pillow opens these, but another program decodes them, or none


class ImageFile(NamedTuple):
    """A file of a class.

    Attributes:
      path: for reading it.
      name: "train/cat/1.png", as `readable` gives it.
      label: number of its class; -1 where it has none.
    """

    path: epath.Path
    name: str
    label: int


class ClassFolders(NamedTuple):
    """The files of a data set.

    Attributes:
      class_names: the folders of train/, in alphabetical order; none where the images are in no class folders.
      splits: the files of each split.
      others: names of the files that are not images.
    """

    class_names: tuple[str, ...]
    splits: dict[str, list[ImageFile]]
    others: list[str]


class _Listed(NamedTuple):
    """What is in the folder of a split: folders directly in it, and the parts of the paths of files at any depth."""

    folder: epath.Path
    folders: list[str]
    images: list[tuple[str, ...]]
    others: list[tuple[str, ...]]


def find_class_folders(root: epath.Path) -> ClassFolders:
    """The files of train/, and of test/ and val/ where they are; "test" means val/ without a test/.

    The images of a class are in its folder at any depth. Images that are in train/ itself, or in a root without a
    train/, have no class, and then there is no other split; those in test/ or val/ itself have none either. A file is
    an image if its name ends as Pillow has it. Links are followed. Hidden files and folders do not count, nor does
    what systems leave behind (Thumbs.db).

    The order within a split is random, but depends on nothing but the files' names.

    Raises:
      UserError: there is no train/ and no image, train/ holds neither classes nor images, images are beside class
        folders, a class has no images, two classes have one name, or test/ has a class of its own.
    """
    if not (root / "train").is_dir():
        top = _list(root, itertools.islice(_walk(root), 1)) if root.is_dir() else None
        if top is None or not top.images:
            raise UserError(
                f"data.data_dir is {readable(root)}, which has no folder 'train': give the folder that holds "
                "train/<class>/ with the images, or one that holds images alone, to train without labels."
            )
        return _without_classes(top, "")
    train = _list(root / "train", _walk(root / "train"))
    if train.images and not train.folders:
        return _without_classes(train, "train/")
    if not train.folders:
        raise UserError(
            f"data.data_dir is {readable(root)}, whose folder 'train' has no class folders: put the images of each "
            "class into a folder of its own there, named after the class, or all images into it, to train without "
            "labels."
        )
    class_names = tuple(sorted(_classes(train)))
    splits, others = {}, []
    for name in ("train", "test", "val"):
        if (root / name).is_dir():
            listed = train if name == "train" else _list(root / name, _walk(root / name))
            splits[name] = _files(listed, f"{name}/", _labels(listed, class_names))
            others += _names(listed.others, f"{name}/")
    if "val" in splits:
        splits.setdefault("test", splits["val"])
    return ClassFolders(class_names, splits, others)


def shortened(names: list[str]) -> str:
    """The first three of many names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@functools.cache
def _suffixes() -> tuple[str, ...]:
    """How names of files end that Pillow decodes."""
    extensions = Image.registered_extensions()  # this makes all formats known to Image.OPEN
    readers = {kind: reader for kind, (reader, _) in Image.OPEN.items() if kind not in _NOT_BY_PILLOW}
    decoded = {
        kind
        for kind, reader in readers.items()
        if not (isinstance(reader, type) and issubclass(reader, StubImageFile))
    }
    return tuple(suffix for suffix, kind in extensions.items() if kind in decoded)


def _is_image(name: str) -> bool:
    return name.lower().endswith(_suffixes())


def _walk(folder: epath.Path) -> Iterator[tuple[tuple[str, ...], list[str], list[str]]]:
    """The parts of the path to each folder, this one first, and the names of folders and files in it that count."""

    def refuse(error: OSError) -> None:
        raise UserError(
            f"The folder {readable(error.filename or folder)} cannot be read ({error.strerror}): see who may read it."
        )

    walked = (
        folder.walk(on_error=refuse)
        if is_remote(folder)
        else os.walk(folder, onerror=refuse, followlinks=True)
    )
    top: Any = None
    for path, folders, files in walked:
        top = top or path  # remote storage gives it without its scheme
        folders[:] = [name for name in folders if _counts(name)]  # no others are walked through
        for name in folders:
            _refuse_circle(pathlib.Path(path, name))
        parts = pathlib.PurePath(os.path.relpath(path, top)).parts
        yield parts, folders, [name for name in files if _counts(name)]


def _counts(name: str) -> bool:
    return name[:1] not in ("", ".") and name not in _LEFT_BY_SYSTEMS


def _refuse_circle(path: pathlib.Path) -> None:
    if path.is_symlink() and any(path.samefile(above) for above in path.parents):
        raise UserError(
            f"{readable(path)} is a link to a folder that it is in, without an end: remove the link."
        )


def _list(folder: epath.Path, walked: Iterable[tuple[tuple[str, ...], list[str], list[str]]]) -> _Listed:
    listed = _Listed(folder, [], [], [])
    for parts, folders, names in walked:
        if not parts:
            listed.folders.extend(folders)
        for name in names:
            (listed.images if _is_image(name) else listed.others).append((*parts, name))
    beside = [readable(name) for name, *deeper in listed.images if not deeper]
    if beside and listed.folders:
        raise UserError(
            f"{readable(folder)} holds {len(beside)} images beside folders, such as {min(beside)}: move each into the "
            "folder of its class, or the images of all folders into one, to train without labels."
        )
    return listed


def _without_classes(listed: _Listed, prefix: str) -> ClassFolders:
    return ClassFolders((), {"train": _files(listed, prefix, {})}, _names(listed.others, prefix))


def _classes(listed: _Listed) -> dict[str, str]:
    """The class folders of a split by their readable names."""
    classes: dict[str, str] = {}
    for name in sorted(listed.folders):
        other = classes.setdefault(readable(name), name)
        if other != name:
            raise UserError(
                f"{readable(listed.folder)} has two class folders of one name, {other!a} and {name!a}: move the images "
                "of one into the other."
            )
    return classes


def _labels(listed: _Listed, class_names: tuple[str, ...]) -> dict[str, int]:
    """Numbers of the class folders of a split, each of which holds images."""
    classes = _classes(listed)
    unknown = sorted(classes.keys() - set(class_names))
    if unknown:
        train = readable(listed.folder.parent / "train")
        raise UserError(
            f"{readable(listed.folder)} has {len(unknown)} class folders that {train} has not ({shortened(unknown)}): "
            "name them as there, or remove them."
        )
    empty = sorted(set(listed.folders) - {parts[0] for parts in listed.images})
    if empty:
        raise UserError(
            f"The class folder {readable(listed.folder / empty[0])} holds no images that Pillow reads (.jpg, .png, "
            ".webp and others): put some there, or remove the folder."
        )
    numbers = {name: label for label, name in enumerate(class_names)}
    return {folder: numbers[name] for name, folder in classes.items()}


def _files(listed: _Listed, prefix: str, labels: Mapping[str, int]) -> list[ImageFile]:
    files = [
        ImageFile(listed.folder.joinpath(*parts), name, labels.get(parts[0], -1))
        for parts, name in zip(listed.images, _names(listed.images, prefix), strict=True)
    ]
    # Names that differ in their bytes alone follow those.
    return sorted(files, key=lambda file: (hashlib.sha256(file.name.encode()).digest(), os.fspath(file.path)))


def _names(files: list[tuple[str, ...]], prefix: str) -> list[str]:
    return [prefix + readable("/".join(parts)) for parts in files]
