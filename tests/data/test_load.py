"""What is known of a data set without its images is what is found with them."""

import numpy as np
import pytest
from PIL import Image

from tcl_jax.data import Dataset, Split, dataset_facts, load_dataset
from tcl_jax.errors import UserError


def test_prepared_or_not_digits_are_the_same(tmp_path):
    split = "train[:90%]"
    before = dataset_facts("digits", data_dir=tmp_path, train_split=split)
    assert list(tmp_path.iterdir()) == []
    digits = load_dataset("digits", data_dir=tmp_path, train_split=split)
    after = dataset_facts("digits", data_dir=tmp_path, train_split=split)
    expected = (digits.train.images.shape[1:], len(digits.class_names), len(digits.train.labels))
    assert before == (*expected, "published")
    assert after == (*expected, "the prepared data set")


def test_of_a_prepared_data_set_its_own_number_counts(write_images):
    folder = write_images()
    found = dataset_facts("tiny_images", data_dir=folder, train_split="train[:5]", image_size=32)
    assert found == ((32, 32, 3), 3, 5, "the prepared data set")


@pytest.mark.parametrize(
    ("name", "image_size", "expected"),
    [
        ("cifar10", 0, ((32, 32, 3), 10, 50_000)),
        ("cifar100", 0, ((32, 32, 3), 100, 50_000)),
        ("fashion_mnist", 0, ((28, 28, 1), 10, 60_000)),
        ("imagenet100", 224, ((224, 224, 3), 100, 126_689)),
        ("caltech_birds2011", 224, ((224, 224, 3), 200, 5_994)),
    ],
)
def test_data_sets_of_the_configs_need_not_be_prepared(name, image_size, expected, tmp_path):
    assert dataset_facts(name, data_dir=tmp_path, image_size=image_size) == (*expected, "published")


def test_files_of_a_folder_are_counted(tmp_path):
    for split, number in (("train", 4), ("test", 1)):
        for label, mode in (("ant", "L"), ("bee", "RGB")):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for i in range(number):
                Image.fromarray(np.zeros((6, 5), np.uint8)).convert(mode).save(folder / f"{i}.png")
    for options in ({}, {"train_split": "train[:75%]"}, {"image_size": 16}):
        found = dataset_facts("image_folder", data_dir=tmp_path, **options)
        loaded = load_dataset("image_folder", data_dir=tmp_path, **options)
        assert found == (loaded.train.images.shape[1:], 2, len(loaded.train.labels), "files counted")


@pytest.mark.parametrize("name", ["digits", "tiny_images", "image_folder", "tests.data.test_load:flowers"])
def test_no_test_split_need_be_asked_for(name, write_images):
    folder = write_images()
    for label in ("ant", "bee"):
        (folder / "train" / label).mkdir(parents=True)
        Image.new("L", (5, 6)).save(folder / "train" / label / "1.png")
    for streaming in ("yes", "no"):
        dataset = load_dataset(name, data_dir=folder, test_split="", streaming=streaming)
        assert dataset.test is None
        assert dataset.train.is_labelled
        found = dataset_facts(name, data_dir=folder, test_split="", image_size=8)
        assert found[1:3] == (len(dataset.class_names), len(dataset.train.labels))


def flowers():
    split = Split(np.zeros((4, 2, 2, 1), np.uint8), np.arange(4))
    return Dataset("flowers", train=split, test=split, class_names=("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dgits", "data.name is 'dgits'.*digits"),
        ("mnist", "'mnist' is not prepared, so that the number of its images is not known"),
        ("imagenet100", "'imagenet100' does not say how large its images are, and data.image_size is 0"),
    ],
)
def test_what_cannot_be_known_is_one_sentence(name, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        dataset_facts(name, data_dir=tmp_path)
    assert "\n" not in str(caught.value)
