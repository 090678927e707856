"""The same data are the same wherever they lie and however they are read; anything else is named."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tcl_jax.data import Dataset, Split, load_dataset
from tcl_jax.data.identity import differences, identity

from .conftest import default_examples


def write_folder(folder, *, classes=("ant", "bee"), count=4, seed=0):
    rng = np.random.default_rng(seed)
    for split, number in (("train", count), ("test", 2)):
        for name in classes:
            for i in range(number):
                path = folder / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (6, 5, 3), np.uint8)).save(path)
    return folder


def identity_of(folder, name="image_folder", **options):
    found = identity(load_dataset(name, data_dir=folder, **options))
    assert json.loads(json.dumps(found)) == found  # JSON has all of it
    return found


def random_data(labels=(0, 1, 2, 0), names=("ant", "bee", "cat"), **others):
    images = np.random.RandomState(0).randint(0, 256, (len(labels), 4, 3, 3), np.uint8)
    split = Split(images, np.array(labels, np.int32))
    return Dataset("random", **{"train": split, "test": split, "class_names": names} | others)


def test_what_it_holds(tmp_path):
    folder = write_folder(tmp_path)
    dataset = load_dataset("image_folder", data_dir=folder)
    found = identity_of(folder)
    assert (found["name"], found["version"], found["class names"]) == ("image_folder", "", ["ant", "bee"])
    assert (found["training images"], found["test images"], found["image shape"]) == (8, 4, [6, 5, 3])
    np.testing.assert_allclose(found["mean"], (dataset.train.images / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(found["std"], (dataset.train.images / 255).std((0, 1, 2)))
    assert len(found["training files"]) == len(found["test files"]) == 16


def test_of_tfds_it_holds_the_version(write_images):
    folder = write_images()
    found = identity_of(folder, "tiny_images")
    assert (found["name"], found["version"]) == ("tiny_images", "1.2.0")
    for name in ("tiny_images:1.2.0", "tiny_images:1.*.*"):
        assert identity_of(folder, name) == found


def test_without_a_test_split(write_images, tmp_path):
    for name, folder in (("tiny_images", write_images()), ("image_folder", write_folder(tmp_path / "own"))):
        found = identity_of(folder, name, test_split="")
        assert not {"test images", "test files"} & found.keys()
        assert found["training files"] == identity_of(folder, name)["training files"]
    assert differences(identity(random_data(test=None)), identity(random_data())) == []


def test_streamed_copied_or_with_damaged_files_left_out_it_is_the_same(write_images, tmp_path):
    folder = write_images()
    assert identity_of(folder, "tiny_images", streaming="yes") == identity_of(folder, "tiny_images")
    folder = write_folder(tmp_path / "one")
    found = identity_of(folder)
    assert identity_of(folder, streaming="yes") == found
    assert identity_of(shutil.copytree(folder, tmp_path / "two")) == found
    damaged = folder / "train" / "bee" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:120])  # its header is sound
    options = {"skip_unreadable": True}
    found = identity_of(folder, streaming="yes", **options)
    assert found["training images"] == 7
    assert identity_of(folder, streaming="no", **options) == found


def rename(folder):
    for split in ("train", "test"):
        (folder / split / "ant").rename(folder / split / "cat")


def move(folder):
    (folder / "train/ant/0.png").rename(folder / "train/bee/9.png")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder: None, []),
        (
            rename,
            ["class names (class 0 is 'ant' there, 'bee' now)", "files or labels of the training images"],
        ),
        (move, ["files or labels of the training images"]),
        (
            lambda folder: (folder / "train/ant/0.png").unlink(),
            ["number of training images (8 there, 7 now)"],
        ),
        (lambda folder: write_folder(folder, count=6), ["number of training images (8 there, 12 now)"]),
        (lambda folder: (folder / "test/ant/1.png").unlink(), ["number of test images (4 there, 3 now)"]),
        (
            lambda folder: write_folder(folder, classes=["ape"]),
            ["number of training images (8 there, 12 now)", "class names ('bee' is class 1 there, 2 now)"],
        ),
        (
            lambda folder: Image.new("RGB", (5, 6)).save(folder / "train/ant/0.png"),
            ["files or labels of the training images", "mean of the training pixels"],
        ),
    ],
)
def test_changes_of_a_folder_are_named(tmp_path, change, expected):
    before = identity_of(write_folder(tmp_path))
    change(tmp_path)
    found = differences(before, identity_of(tmp_path))
    assert bool(found) == bool(expected)
    for phrase in expected:
        assert any(other.startswith(phrase) for other in found), found


def test_another_version_of_tfds_is_named(write_images):
    before = identity_of(write_images(), "tiny_images")
    examples = default_examples()
    examples["train"] = examples["train"][::-1]
    folder = write_images(examples, version="1.3.0")
    assert differences(before, identity_of(folder, "tiny_images")) == [
        "version (1.2.0 there, 1.3.0 now)",
        "files or labels of the training images",
    ]
    assert differences(before, identity_of(folder, "tiny_images:1.2.0")) == []


@pytest.mark.parametrize(
    ("changed", "phrase"),
    [
        ({"labels": (0, 1, 0, 2)}, "files or labels of the training images"),
        ({"labels": (-1, -1, -1, -1)}, "files or labels of the training images"),
        ({"names": ("ant", "cat", "bee")}, "class names ('bee' is class 1 there, 2 now)"),
        ({"names": ("ant", "bee", "cow")}, "class names (class 2 is 'cat' there, 'cow' now)"),
        ({"names": ("ant", "bee", "cat", "dog")}, "class names (class 3 is missing there, 'dog' now)"),
        ({"names": ("ant", "bee")}, "class names (class 2 is 'cat' there, missing now)"),
        ({"names": ()}, "class names (class 0 is 'ant' there, missing now)"),
        ({"version": "2"}, "version (none there, 2 now)"),
        ({"files": ("a", "b")}, "files or labels of the test images"),
        (
            {"train": Split(np.zeros((4, 4, 3, 1), np.uint8), np.arange(4))},
            "shape of the images ([4, 3, 3] there, [4, 3, 1] now)",
        ),
    ],
)
def test_changes_of_any_data_set_are_named(changed, phrase):
    before, now = identity(random_data()), identity(random_data(**changed))
    assert phrase in differences(before, now)
    assert differences(now, before)
    assert differences(now, now) == differences(before, before) == []


def test_statistics_may_differ_as_decoders_do():
    before = {"mean": [0.5, 0.25], "std": [0.1, 0.2]}
    assert differences(before, {"mean": [0.5019, 0.2481], "std": [0.1019, 0.2]}) == []
    assert differences(before, {"mean": [0.5, 0.2521], "std": [0.0979, 0.2]}) == [
        "mean of the training pixels ([0.5, 0.25] there, [0.5, 0.2521] now)",
        "std of the training pixels ([0.1, 0.2] there, [0.0979, 0.2] now)",
    ]
    assert len(differences(before, {"mean": [0.5], "std": [0.1]})) == 2
    assert differences(before, {"training images": 3}) == []  # what is not recorded is not compared
