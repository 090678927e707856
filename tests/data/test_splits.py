"""No image is trained and tested on, and none counts twice, however the splits are written."""

import itertools
import re

import numpy as np
import pytest
from PIL import Image

from tcl_jax.data import dataset_facts, load_dataset
from tcl_jax.data.dataset import Options
from tcl_jax.data.splits import split_dict, train_and_test
from tcl_jax.errors import UserError

SPLITS = split_dict({"train": 20, "test": 10})
OVERLAPS = {
    ("train", "train"): 20,
    ("train", "train[80%:]"): 4,
    ("train", "train[-3:]"): 3,
    ("train[:80%]", "train[70%:]"): 2,
    ("train[:50%]", "train[9:]"): 1,
    ("train[:12]", "train[50%:]"): 2,
    ("train[2:]", "train[:-17]"): 1,
    ("all", "test"): 10,
    ("train", "all"): 20,
    ("train+test", "test[:1]"): 1,
    ("test[:5]+train", "test"): 5,
    ("test", "test"): 10,
    ("train", "test+train[5:10]"): 5,
}


def split(train_split, test_split, splits=SPLITS):
    return train_and_test(splits, "x", Options(train_split=train_split, test_split=test_split))


def suggested(message):
    """The splits of the flags that a message gives."""
    return re.findall(r"--config\.data\.(?:train|test)_split='([^']*)'", message)


@pytest.mark.quick
@pytest.mark.parametrize(("splits", "shared"), OVERLAPS.items(), ids=map(str, OVERLAPS))
def test_splits_that_share_images_are_refused_and_the_pair_that_is_named_works(splits, shared):
    with pytest.raises(UserError) as caught:
        split(*splits)
    message = str(caught.value)
    train, test = splits
    assert message.startswith(
        f"data.train_split is '{train}' and data.test_split is '{test}', which have {shared} of the images of the "
        "data set 'x' in common, expected none: test on others, as with --config.data.train_split='"
    )
    assert not set.intersection(*map(set, split(*suggested(message))))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 9])
def test_the_pair_that_is_named_works_for_few_images(count):
    splits = split_dict({"only": count})
    for pair in (("only", "only"), ("train", "test")):
        with pytest.raises(UserError) as caught:
            split(*pair, splits)
        train, test = split(*suggested(str(caught.value)), splits)
        assert sorted(train + test) == [("only", i) for i in range(count)]


@pytest.mark.parametrize(
    ("written", "repeated"),
    [("train+train", 20), ("train[:50%]+train[40%:]", 2), ("all+test", 10), ("train[-1:]+train[19:]", 1)],
)
def test_a_split_that_takes_an_image_twice_is_refused(written, repeated):
    for field, pair in (("train_split", (written, "test")), ("test_split", ("train[:1]", written))):
        with pytest.raises(UserError, match=rf"data\.{field} is '.*', which takes {repeated} of the images"):
            split(*pair)


def test_splits_that_share_none_give_the_images_of_each_in_order():
    train, test = split("train[:75%]", "train[15:]+test[:-8]")
    assert train == [("train", i) for i in range(15)]
    assert test == [("train", i) for i in range(15, 20)] + [("test", 0), ("test", 1)]
    assert split("all", "") == (
        [*itertools.product(["train"], range(20)), *(("test", i) for i in range(10))],
        [],
    )


@pytest.fixture
def image_folder(tmp_path):
    for part, count in (("train", 5), ("val", 2)):
        for i in range(count):
            path = tmp_path / part / "ant" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((2, 2), i, np.uint8)).save(path)
    return tmp_path


@pytest.mark.parametrize("know", [load_dataset, dataset_facts])
@pytest.mark.parametrize("splits", [("train", "train[80%:]"), ("train+val", "val[:1]"), ("val", "test")])
def test_of_an_image_folder_in_every_mode(image_folder, know, splits):
    """val/ stands in for test/: these are the same images by two names."""
    with pytest.raises(UserError, match="in common, expected none"):
        know("image_folder", data_dir=image_folder, train_split=splits[0], test_split=splits[1])


@pytest.mark.parametrize("know", [load_dataset, dataset_facts])
def test_of_prepared_data_in_every_mode(write_images, know):
    with pytest.raises(UserError, match="data set 'tiny_images' in common, expected none"):
        know("tiny_images", data_dir=write_images(), test_split="train[80%:]")


@pytest.mark.parametrize("name", ["digits", "cifar10", "imagenet100"])
def test_of_data_that_are_not_prepared(name, tmp_path):
    options = dict(data_dir=tmp_path, image_size=32, train_split="train", test_split="train[90%:]")
    with pytest.raises(UserError, match=f"of the images of the data set '{name}' in common"):
        dataset_facts(name, **options)
