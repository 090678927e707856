"""Which files of a folder are its images, by which names, and of which class."""

import json
import os
import pathlib
from typing import ClassVar

import fsspec
import numpy as np
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from tcl_jax.data import Split, dataset_facts
from tcl_jax.data.class_folders import readable
from tcl_jax.data.identity import identity
from tcl_jax.errors import UserError
from tests.data.folders import assert_same_images, colour, load, message_of, tree

from .conftest import encoded

SUFFIXES = (
    ".jpg .JPEG .jfif .Png .apng .webp .WEBP .bmp .dib .gif .tif .TIFF .ppm .tga .jp2 .avif .ico .pcx .qoi"
)


@pytest.mark.parametrize("suffix", SUFFIXES.split())
def test_what_pillow_reads_counts(write_tree, suffix):
    folder = write_tree({f"train/x/a{suffix}": Image.fromarray(colour(16, 16))})
    with Image.open(folder / f"train/x/a{suffix}") as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(load(folder, test_split="").train.images, expected[np.newaxis])


@pytest.mark.parametrize("suffix", [".gif", ".tiff", ".webp", ".png"])
def test_the_first_of_several_frames_counts(write_tree, suffix):
    frames = [Image.new("RGB", (6, 5), shade) for shade in ("red", "lime", "blue")]
    folder = write_tree({f"train/x/a{suffix}": b""})
    more = {"save_all": True, "append_images": frames[1:]} | ({"lossless": True} if suffix == ".webp" else {})
    frames[0].save(folder / f"train/x/a{suffix}", **more)
    with Image.open(folder / f"train/x/a{suffix}") as image:
        assert image.n_frames == 3
    np.testing.assert_array_equal(load(folder, test_split="").train.images, np.asarray(frames[0])[np.newaxis])


def test_images_count_at_any_depth_and_through_links(write_tree, tmp_path):
    """Also those in folders that are called like images, and links to files and folders elsewhere."""
    files = {
        f"train/cat/{name}": colour()
        for name in ("1.png", "a/1.png", "a/b/1.png", "c.png/1.png", "d.v2/e f/1.png")
    }
    files |= {"train/cat.png/1.png": colour(), "test/cat/deep/1.png": colour()}
    elsewhere = {"other/2.png": colour(), "more/deep/3.png": colour(), "ant/4.png": colour()}
    folder = write_tree(files | elsewhere)
    (folder / "train/cat/2.png").symlink_to(folder / "other/2.png")
    (folder / "train/cat/more").symlink_to(folder / "more")
    (folder / "train/ant").symlink_to(folder / "ant")
    dataset = load(folder)
    assert dataset.class_names == ("ant", "cat", "cat.png")
    labels = {"train/cat.png/1.png": 2, "ant/4.png": 0}
    expected = [
        (image, labels.get(name, 1))
        for name, image in (files | elsewhere).items()
        if not name.startswith("test")
    ]
    assert_same_images(dataset.train, expected)
    assert_same_images(dataset.test, [(files["test/cat/deep/1.png"], 1)])
    assert dataset_facts("image_folder", data_dir=folder)[1:3] == (3, len(expected))


def test_links_in_a_circle(write_tree):
    folder = write_tree(tree())
    (folder / "train/ant/all").symlink_to(folder / "train")
    (folder / "train/cat/more").symlink_to(folder / "train/ant")
    assert "is a link to a folder that it is in, without an end: remove the link." in message_of(folder)


def test_other_files_are_counted_and_named(write_tree, capsys):
    """What is hidden or left behind by systems is not; no word where there are no others."""
    hidden = [
        "train/x/.hidden.png",
        "train/.trash/a.png",
        "train/x/.trash/a.txt",
        "train/x/Thumbs.db",
        "notes.md",
    ]
    hidden += ["train/__MACOSX/x/._a.png", "train/x/desktop.ini", "train/x/.DS_Store", "test/.DS_Store"]
    folder = write_tree({"train/x/a.png": colour(), "test/x/a.png": colour()} | dict.fromkeys(hidden, b""))
    assert len(load(folder).train.labels) == 1
    assert capsys.readouterr().err == ""
    others = [
        "train/x/deep/b.txt",
        "train/readme.md",
        "train/x/a.heic",
        "test/x/labels.csv",
        "train/x/b.h5",
        "train/x/c",
    ]
    write_tree(dict.fromkeys([*others, "train/x/a.mpg", "train/x/a.pdf", "train/x/png"], b""))
    assert len(load(folder, streaming="yes").train.labels) == 1
    assert capsys.readouterr().err == (
        f"Left out: by their names 9 of the files in {folder} are not images, the first is test/x/labels.csv.\n"
    )


def test_a_folder_that_cannot_be_read(write_tree, monkeypatch):
    folder = write_tree(tree() | {"train/ant/deep/1.png": colour()})
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert message_of(folder).startswith(
        f"The folder {folder / 'train/ant/deep'} cannot be read (Permission denied)"
    )


def test_remote_storage_is_walked_through(monkeypatch):
    class Bucket(MemoryFileSystem):
        protocol = ("gs", "gcs")
        store: ClassVar = {}
        pseudo_dirs: ClassVar = [""]

        @classmethod
        def _strip_protocol(cls, path):
            return MemoryFileSystem._strip_protocol(path.replace("gs://", "memory://"))

    monkeypatch.setattr("etils.epath.gpath._is_tf_installed", lambda: False)  # which would open it
    for scheme in ("gs", "gcs"):
        fsspec.register_implementation(scheme, Bucket, clobber=True)
    root = epath.Path("gs://bucket/flowers")
    images = {name: colour() for name in ("train/ant/1.png", "train/cat/deep/2.png", "test/ant/3.png")}
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(encoded(image))
    (root / "train/cat/.hidden").mkdir()
    (root / "train/cat/.hidden/1.png").write_bytes(b"")
    dataset = load(root)
    assert_same_images(dataset.train, [(images["train/ant/1.png"], 0), (images["train/cat/deep/2.png"], 1)])
    assert dataset.class_names == ("ant", "cat")
    assert len(dataset.test.labels) == 1


def test_names_that_are_not_utf8_are_shown_by_their_bytes(tmp_path, capsys):
    """And what is printed and stored can be encoded."""
    images = [colour(), colour(), colour()]
    paths = [b"train/caf\xe9/\xff.png", b"train/na\xc3\xafve/a\nb.png", b"test/caf\xe9/1.png"]
    for path, image in zip(paths, images, strict=True):
        path = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + path))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / os.fsdecode(b"train/caf\xe9/\xfe.txt")).write_bytes(b"")
    dataset = load(tmp_path)
    assert dataset.class_names == ("caf\\xe9", "naïve")
    assert_same_images(dataset.train, [(images[0], 0), (images[1], 1)])
    assert_same_images(dataset.test, [(images[2], 0)])
    json.dumps(identity(dataset), ensure_ascii=False).encode()
    assert capsys.readouterr().err.endswith("the first is train/caf\\xe9/\\xfe.txt.\n")
    (tmp_path / os.fsdecode(paths[0])).write_bytes(b"")
    assert "the first is train/caf\\xe9/\\xff.png (" in message_of(tmp_path)
    (tmp_path / os.fsdecode(b"test/th\xe9")).mkdir()
    assert "(th\\xe9): name them as there" in message_of(tmp_path)
    (tmp_path / os.fsdecode(b"test/th\xe9")).rename(tmp_path / os.fsdecode(b"train/th\xe9"))
    assert "train/th\\xe9 holds no images" in message_of(tmp_path)


def test_names_are_the_same_in_any_locale(monkeypatch):
    """Python decodes the names of files by the locale."""
    for encoding in ("utf-8", "latin-1", "ascii"):
        monkeypatch.setattr(os, "fsencode", lambda name: os.fspath(name).encode(encoding, "surrogateescape"))  # noqa: B023
        for name, text in ((b"caf\xc3\xa9", "café"), (b"caf\xe9", "caf\\xe9"), (b"a\tb", "a\\x09b")):
            assert readable(name.decode(encoding, "surrogateescape")) == text
    assert readable(epath.Path("gs://bucket/café")) == "gs://bucket/café"


COMPOSED, DECOMPOSED = "café", "café"


def test_composed_and_decomposed_accents_are_one_class(write_tree, tmp_path):
    files = {"cafe/1.png": colour(), f"{COMPOSED}/å.png": colour(), "cafz/1.png": colour()}
    test = {f"test/{DECOMPOSED}/1.png": colour(), "test/cafe/1.png": colour()}
    dataset = load(write_tree({f"train/{name}": image for name, image in files.items()} | test))
    assert dataset.class_names == ("cafe", "cafz", COMPOSED)
    assert_same_images(dataset.test, [(test[f"test/{DECOMPOSED}/1.png"], 2), (test["test/cafe/1.png"], 0)])
    (tmp_path / "train" / COMPOSED / "å.png").rename(tmp_path / "train" / COMPOSED / "å.png")
    (tmp_path / "train" / COMPOSED).rename(tmp_path / "train" / DECOMPOSED)
    again = load(tmp_path)
    assert again.class_names == dataset.class_names
    np.testing.assert_array_equal(again.train.images, dataset.train.images)
    assert identity(again) == identity(dataset)


def test_two_class_folders_of_one_name(write_tree):
    names = {f"train/{COMPOSED}/1.png": colour(), f"train/{DECOMPOSED}/1.png": colour()}
    folder = write_tree(names)
    assert message_of(folder) == (
        f"{folder / 'train'} has two class folders of one name, 'cafe\\u0301' and 'caf\\xe9': move the images of one "
        "into the other."
    )


def test_two_files_of_one_name_are_two(write_tree):
    files = {f"train/x/{name}.png": colour() for name in (COMPOSED, DECOMPOSED)}
    folder = write_tree(files)
    assert_same_images(load(folder, test_split="").train, [(image, 0) for image in files.values()])
    (folder / f"train/x/{DECOMPOSED}.png").write_bytes(b"")
    kept = load(folder, test_split="", skip_unreadable=True).train
    assert_same_images(kept, [(files[f"train/x/{COMPOSED}.png"], 0)])


@pytest.mark.parametrize("prefix", ["train/", ""])
@pytest.mark.parametrize("streaming", ["yes", "no"])
def test_images_in_no_class_folders_have_no_class(write_tree, prefix, streaming, capsys):
    files = {f"{prefix}{i}.{kind}": colour() for i, kind in enumerate(["png", "bmp", "tiff"])}
    folder = write_tree(files | {f"{prefix}labels.csv": b"", f"{prefix}.hidden/1.png": b""})
    dataset = load(folder, test_split="", streaming=streaming)
    assert (dataset.class_names, dataset.test, dataset.train.is_labelled) == ((), None, False)
    images, labels = dataset.train.images[:], dataset.train.labels
    assert_same_images(Split(images, labels), [(image, -1) for image in files.values()])
    assert f"Left out: by their names 1 of the files in {folder}" in capsys.readouterr().err
    assert dataset_facts("image_folder", data_dir=folder, test_split="")[1:3] == (0, 3)
    assert len(load(folder, test_split="", train_split="train[:2]").train.labels) == 2
    expected = (
        f"data.test_split is 'test', but 3 images in {folder} are in no class folder, such as {prefix}0.png: train "
        "without evaluation, by --config.data.test_split='', or put the images of each class into a folder of its own, "
        "train/<class>/ or test/<class>/."
    )
    assert message_of(folder) == expected
    with pytest.raises(UserError, match="are in no class folder"):
        dataset_facts("image_folder", data_dir=folder)


def test_order_without_classes_is_that_of_the_names_alone(write_tree, tmp_path):
    files = {f"{i}.png": colour() for i in range(20)}
    one = load(write_tree({f"one/{name}": image for name, image in files.items()}) / "one", test_split="")
    other = load(
        write_tree({f"two/{name}": image for name, image in reversed(files.items())}) / "two", test_split=""
    )
    np.testing.assert_array_equal(one.train.images, other.train.images)
    assert identity(one) == identity(other)


def test_test_images_in_no_class_folders(write_tree):
    """As competitions have them: they do no harm where they are not asked for."""
    files = tree() | {"test/1.png": colour()}
    folder = write_tree({name: image for name, image in files.items() if not name.startswith("test/a")})
    (folder / "test/cat/0.png").rename(folder / "test/2.png")
    (folder / "test/cat").rmdir()
    assert "data.test_split is 'test', but 2 images in" in (message := message_of(folder))
    assert "are in no class folder, such as test/1.png: train without evaluation" in message
    assert load(folder, test_split="").train.is_labelled
    assert load(folder, train_split="train[:80%]", test_split="train[80%:]").test.is_labelled
    unlabelled = load(folder, train_split="train+test", test_split="").train
    assert (sorted(unlabelled.labels)[:2], len(unlabelled.labels)) == ([-1, -1], 10)


@pytest.mark.parametrize("place", ["train/", "test/", ""])
def test_images_beside_folders(write_tree, place):
    files = {name: image for name, image in tree().items() if place or not name.startswith("train/")}
    folder = write_tree(files | {f"{place}b.png": colour(), f"{place}a.webp": colour()})
    assert message_of(folder) == (
        f"{folder / place} holds 2 images beside folders, such as a.webp: move each into the folder of its class, or "
        "the images of all folders into one, to train without labels."
    )


def test_one_class_alone(write_tree):
    dataset = load(write_tree({"train/x/1.png": colour(), "test/x/1.png": colour()}))
    assert (dataset.class_names, dataset.train.is_labelled, len(dataset.test.labels)) == (("x",), True, 1)
