"""Which image files are in train/<class>/ and test/<class>/, in an order that is fixed by their names."""

import hashlib
from typing import NamedTuple

from etils import epath

from tcl_jax.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png")


class ImageFile(NamedTuple):
    """A file of a class.

    Attributes:
      path: for reading it.
      name: "train/cat/1.png".
      label: number of its class.
    """

    path: epath.Path
    name: str
    label: int


class ClassFolders(NamedTuple):
    """The files of a data set.

    Attributes:
      class_names: the folders of train/, in alphabetical order.
      splits: the files of each split.
    """

    class_names: tuple[str, ...]
    splits: dict[str, list[ImageFile]]


def find_class_folders(root: epath.Path) -> ClassFolders:
    """The files of train/, and of test/ and val/ where they are; "test" means val/ where there is no test/.

    The order within a split is random, but depends on nothing but the files' names, so that a slice of it holds every
    class. Hidden files and folders, other kinds of files, and folders within those of the classes are left out.

    Raises:
      UserError: there is no train/, it holds no classes, a class has no images, or test/ has a class of its own.
    """
    if not (root / "train").is_dir():
        raise UserError(
            f"There is no folder 'train' in {root}: give as data.data_dir the folder that holds train/<class>/ with "
            "the images."
        )
    class_names = _folders_in(root / "train")
    if not class_names:
        raise UserError(
            f"There are no class folders in {root / 'train'}: put the images of each class into a folder of its own "
            "there, named after the class."
        )
    splits = {
        split: _list_split(root / split, class_names)
        for split in ("train", "test", "val")
        if (root / split).is_dir()
    }
    if "val" in splits:
        splits.setdefault("test", splits["val"])
    return ClassFolders(class_names, splits)


def shortened(names: list[str]) -> str:
    """The first three of many names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _folders_in(folder: epath.Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."))


def _list_split(folder: epath.Path, class_names: tuple[str, ...]) -> list[ImageFile]:
    labels = {name: label for label, name in enumerate(class_names)}
    found = _folders_in(folder)
    unknown = [name for name in found if name not in labels]
    if unknown:
        raise UserError(
            f"{folder} has {len(unknown)} class folders that {folder.parent / 'train'} has not ({shortened(unknown)}): "
            "name them as there, or remove them."
        )
    files = []
    for name in found:
        of_class = [
            ImageFile(path, f"{folder.name}/{name}/{path.name}", labels[name])
            for path in (folder / name).iterdir()
            if path.name.lower().endswith(SUFFIXES) and path.name[0] != "."
        ]
        if not of_class:
            raise UserError(
                f"The class folder {folder / name} holds no images ({', '.join(SUFFIXES)}): put some there, or remove "
                "the folder."
            )
        files += of_class
    return sorted(files, key=lambda file: hashlib.sha256(file.name.encode()).digest())
