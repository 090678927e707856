import itertools
import json
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tcl_jax.augment import check_policy, make_policy
from tcl_jax.data import dataset_facts, load_dataset
from tcl_jax.errors import UserError

from .conftest import encoded


def grey(size, value=0):
    return np.full(size, value, np.uint8)


@pytest.mark.quick
def test_images_and_labels_arrive_unchanged(write_images):
    dataset = load_dataset("tiny_images", data_dir=write_images())
    expected = np.random.RandomState(0).randint(0, 256, (30, 6, 5, 3), np.uint8)
    np.testing.assert_array_equal(dataset.train.images, expected[:20])
    np.testing.assert_array_equal(dataset.test.images, expected[20:])
    np.testing.assert_array_equal(dataset.train.labels, np.arange(20) % 3)
    np.testing.assert_array_equal(dataset.test.labels, np.arange(20, 30) % 3)
    assert (dataset.train.images.dtype, dataset.train.labels.dtype) == (np.uint8, np.int32)
    assert (dataset.name, dataset.class_names) == ("tiny_images", ("ant", "bee", "cat"))


def test_splits_may_be_slices(write_images):
    folder = write_images()
    whole = load_dataset("tiny_images", data_dir=folder).train
    parts = load_dataset("tiny_images", data_dir=folder, train_split="train[:90%]", test_split="train[-2:]")
    np.testing.assert_array_equal(parts.train.images, whole.images[:18])
    np.testing.assert_array_equal(parts.test.images, whole.images[18:])
    np.testing.assert_array_equal(parts.test.labels, whole.labels[18:])


def test_more_records_than_are_read_at_a_time(write_images):
    examples = [{"image": encoded(grey((2, 2), i % 256)), "label": i % 2} for i in range(1030)]
    image = tfds.features.Image(shape=(2, 2, 1), encoding_format="png")
    folder = write_images({"train": examples, "test": examples[:1]}, image=image)
    train = load_dataset("tiny_images", data_dir=folder).train
    assert train.images.shape == (1030, 2, 2, 1)
    np.testing.assert_array_equal(train.images[:, 0, 0, 0], np.arange(1030) % 256)
    np.testing.assert_array_equal(train.labels, np.arange(1030) % 2)


def test_grey_files_in_a_colour_data_set_become_colour(write_images):
    """As in ImageNet: the number of channels is that of the data set, not that of the file."""
    colour = np.random.RandomState(1).randint(0, 256, (4, 4, 3), np.uint8)
    examples = [{"image": encoded(grey((4, 4), 7)), "label": 0}, {"image": encoded(colour), "label": 1}]
    train = load_dataset("tiny_images", data_dir=write_images({"train": examples, "test": examples})).train
    np.testing.assert_array_equal(train.images, [np.full((4, 4, 3), 7), colour])


def test_newest_prepared_version_is_taken(write_images):
    old = [{"image": encoded(grey((2, 2, 3), 1)), "label": 0}]
    new = [{"image": encoded(grey((2, 2, 3), 2)), "label": 0}]
    write_images({"train": old, "test": old}, version="1.2.0")
    folder = write_images({"train": new, "test": new}, version="1.10.0")
    assert load_dataset("tiny_images", data_dir=folder).train.images[0, 0, 0, 0] == 2
    assert load_dataset("tiny_images:1.2.0", data_dir=folder).train.images[0, 0, 0, 0] == 1


def test_a_known_data_set_is_read_from_its_files_alone(write_images):
    """cifar100 has code in TFDS, of another version than these files; no TensorFlow is asked for."""
    dataset = load_dataset("cifar100", data_dir=write_images(name="cifar100", version="2.0.0"))
    assert dataset.class_names == ("ant", "bee", "cat")


def test_reading_needs_no_tensorflow(write_images):
    load_dataset("tiny_images", data_dir=write_images())
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    ("field", "split"),
    [
        ("train_split", ""),
        *itertools.product(
            ["train_split", "test_split"],
            ["valid", "train[:x%]", "train[", " ", "train[:900]", "train,test"],
        ),
    ],
)
def test_split_that_does_not_exist(write_images, field, split):
    with pytest.raises(UserError) as error:
        load_dataset("tiny_images", data_dir=write_images(), **{field: split})
    assert str(error.value) == (
        f"data.{field} is '{split}', expected a split of the data set 'tiny_images', which has train (20 "
        "images), test (10 images), or slices, as with --config.data.train_split='train[:80%]' "
        "--config.data.test_split='train[80%:]'."
    )


@pytest.mark.parametrize("split", ["train[:0%]", "train[90%:10%]", "train[20:]"])
def test_empty_split(write_images, split):
    with pytest.raises(
        UserError, match=r"data\.train_split is .*, which is empty: .* has train \(20 images\)"
    ):
        load_dataset("tiny_images", data_dir=write_images(), train_split=split)


@pytest.mark.parametrize(
    ("features", "example", "found"),
    [
        ({"image": "absent"}, {"label": 0}, r"label \(ClassLabel\)"),
        (
            {"label": tfds.features.Scalar(np.int64)},
            {"image": encoded(grey((2, 2, 3))), "label": 3},
            r"image \(Image, uint8, 3 channels\), label \(Scalar\)",
        ),
        (
            {"image": tfds.features.Tensor(shape=(2,), dtype=np.uint8)},
            {"image": [1, 2], "label": 0},
            "Tensor",
        ),
    ],
)
def test_features_without_image_or_label(write_images, features, example, found):
    folder = write_images({"train": [example], "test": [example]}, **features)
    with pytest.raises(UserError, match=rf"has the features .*{found}.*, expected 'image' .* and 'label'"):
        load_dataset("tiny_images", data_dir=folder)


def test_images_of_sixteen_bits(write_images):
    image = tfds.features.Image(shape=(2, 2, 1), dtype=np.uint16, encoding_format="png")
    example = {"image": encoded(np.zeros((2, 2), np.uint16)), "label": 0}
    folder = write_images({"train": [example], "test": [example]}, image=image)
    with pytest.raises(
        UserError, match=r"image \(Image, uint16, 1 channels\).*, expected .*an Image of uint8"
    ):
        load_dataset("tiny_images", data_dir=folder)


def test_images_of_two_channels(write_images):
    image = tfds.features.Image(shape=(2, 2, 2), encoding_format="png")
    example = {"image": encoded(grey((2, 2, 2))), "label": 0}
    folder = write_images({"train": [example], "test": [example]}, image=image)
    with pytest.raises(
        UserError, match=r"image \(Image, uint8, 2 channels\).*, expected .* 1, 3 or 4 channels"
    ):
        load_dataset("tiny_images", data_dir=folder)


def test_images_of_four_channels(write_images):
    """Colour and transparency; files without it are opaque."""
    pixels = np.random.RandomState(2).randint(0, 256, (4, 5, 4), np.uint8)
    examples = [
        {"image": encoded(pixels), "label": 0},
        {"image": encoded(pixels[..., :3].copy()), "label": 1},
    ]
    image = tfds.features.Image(shape=(4, 5, 4), encoding_format="png")
    folder = write_images({"train": examples, "test": examples}, image=image)
    for streaming in ("yes", "no"):
        images = load_dataset("tiny_images", data_dir=folder, streaming=streaming).train.images[:]
        opaque = np.dstack([pixels[..., :3], np.full((4, 5), 255, np.uint8)])
        np.testing.assert_array_equal(images, [pixels, opaque])
    shape = dataset_facts("tiny_images", data_dir=folder).image_shape
    assert shape == (4, 5, 4)
    for name in ("crop_flip", "none"):
        check_policy(make_policy(name, crop_padding=1, flip=True), name, shape)
    with pytest.raises(
        UserError, match=r"augment\.views names 'simaug', which fails for uint8 images \[4, 5, 4\]"
    ):
        check_policy(make_policy("simaug", crop_padding=1, flip=True), "simaug", shape)


def test_labels_outside_the_classes(write_images):
    """As where a data set lost the names of its classes."""
    image = encoded(grey((2, 2, 3)))
    train = [{"image": image, "label": 2}]
    unknown = [{"image": image, "label": 3}, {"image": image, "label": 0}]
    folder = write_images({"train": train, "test": unknown}, label=tfds.features.ClassLabel(num_classes=4))
    features_file = folder / "tiny_images/1.2.0/features.json"
    features_file.write_text(features_file.read_text().replace('"numClasses": "4"', '"numClasses": "3"'))
    for splits in ({}, {"train_split": "test", "test_split": ""}):
        with pytest.raises(
            UserError, match=r"_split is 'test', where 1 image.* 3, expected 0 to 2, or -1 for"
        ):
            load_dataset("tiny_images", data_dir=folder, **splits)


def labelled(*labels):
    return [{"image": encoded(grey((2, 2, 3), i)), "label": label} for i, label in enumerate(labels)]


@pytest.mark.parametrize("streaming", ["yes", "no"])
def test_images_without_a_class_may_be_trained_on(write_images, streaming):
    """-1 is how TFDS marks them, as in the unlabelled split of stl10."""
    splits = {"train": labelled(0, 1), "test": labelled(2, 1), "unlabelled": labelled(-1, -1, -1)}
    folder = write_images(splits | {"mixed": labelled(-1, 2)})
    options = {"data_dir": folder, "streaming": streaming}
    dataset = load_dataset("tiny_images", train_split="unlabelled", **options)
    assert (dataset.train.labels.tolist(), dataset.train.is_labelled) == ([-1, -1, -1], False)
    assert (dataset.test.labels.tolist(), dataset.test.is_labelled) == ([2, 1], True)
    assert dataset.class_names == ("ant", "bee", "cat")
    alone = load_dataset("tiny_images", train_split="train+unlabelled", test_split="", **options)
    assert (alone.train.labels.tolist(), alone.test) == ([0, 1, -1, -1, -1], None)
    for split, count in (("unlabelled", 3), ("mixed", 1)):
        with pytest.raises(UserError) as error:
            load_dataset("tiny_images", test_split=split, **options)
        assert str(error.value) == (
            f"data.test_split is '{split}', where {count} images of the data set 'tiny_images' have no class (label "
            "-1): choose a labelled split, or train without evaluation, by --config.data.test_split=''."
        )


def test_a_data_set_without_labels_may_be_trained_on(write_images):
    examples = [{"image": encoded(grey((2, 2, 3), i))} for i in range(3)]
    folder = write_images({"train": examples, "test": examples}, label="absent")
    dataset = load_dataset("tiny_images", data_dir=folder, test_split="")
    assert (dataset.train.labels.tolist(), dataset.class_names) == ([-1, -1, -1], ())
    assert dataset_facts("tiny_images", data_dir=folder, test_split="", image_size=8)[1:3] == (0, 3)
    with pytest.raises(UserError, match=r"data\.test_split is 'test', where 3 images .* have no class"):
        load_dataset("tiny_images", data_dir=folder)


def test_the_version_is_known(write_images):
    folder = write_images(version="1.10.0")
    assert load_dataset("tiny_images", data_dir=folder).version == "1.10.0"
    assert load_dataset("tiny_images:1.*.*", data_dir=folder).version == "1.10.0"


@pytest.mark.parametrize("splits", [("train", "train"), ("train", "test")])
def test_images_of_differing_sizes(write_images, splits):
    examples = {"train": [], "test": []}
    for split, size in zip(splits, [(4, 5, 3), (6, 5, 3)], strict=True):
        examples[split].append({"image": encoded(grey(size)), "label": 0})
    examples["test"] = examples["test"] or examples["train"]
    with pytest.raises(UserError, match="images of 4x5x3 and of 6x5x3 pixels, expected one size"):
        load_dataset("tiny_images", data_dir=write_images(examples))


def test_images_of_differing_sizes_are_scaled_to_one(write_images):
    sizes = [(12, 6, 3), (6, 18, 3), (6, 6, 3), (3, 3, 3)]
    examples = [{"image": encoded(grey(size, 10 * i)), "label": 0} for i, size in enumerate(sizes)]
    folder = write_images({"train": examples, "test": examples[::-1]})
    dataset = load_dataset("tiny_images", data_dir=folder, image_size=6)
    assert dataset.train.images.shape == (4, 6, 6, 3)
    np.testing.assert_array_equal(dataset.train.images[:, 0, 0, 0], [0, 10, 20, 30])
    np.testing.assert_array_equal(dataset.test.images, dataset.train.images[::-1])


def test_image_size_below_zero(tmp_path):
    with pytest.raises(UserError, match=r"data\.image_size is -1, expected a number of pixels, or 0"):
        load_dataset("digits", data_dir=tmp_path, image_size=-1)


def test_image_that_cannot_be_read(write_images):
    whole = encoded(np.random.RandomState(4).randint(0, 256, (9, 9, 3), np.uint8))
    truncated = [{"image": whole[: len(whole) // 2], "label": 0}]
    folder = write_images({"train": [{"image": whole, "label": 0}], "test": truncated})
    with pytest.raises(
        UserError, match=r"'tiny_images' holds an image that cannot be read .*: prepare it again"
    ):
        load_dataset("tiny_images", data_dir=folder)


def test_features_that_nobody_asked_for_are_left_alone(write_images):
    """As in caltech_birds2011, whose examples have a mask, a frame and texts beside the image."""
    examples = [
        {
            "image": encoded(grey((8, 4, 3), 7)),
            "image/filename": "a.jpg",
            "label": 2,
            "bbox": tfds.features.BBox(0.0, 0.1, 0.5, 1.0),
            "segmentation_mask": b"not decoded",
        }
    ]
    others = {
        "image/filename": tfds.features.Text(),
        "bbox": tfds.features.BBoxFeature(),
        "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
    }
    folder = write_images({"train": examples, "test": examples}, others=others)
    train = load_dataset("tiny_images", data_dir=folder, image_size=4).train
    np.testing.assert_array_equal(train.images, np.full((1, 4, 4, 3), 7))
    np.testing.assert_array_equal(train.labels, [2])


def test_files_without_random_access(write_images):
    folder = write_images()
    info_file = folder / "tiny_images/1.2.0/dataset_info.json"
    info_file.write_text(json.dumps(json.loads(info_file.read_text()) | {"fileFormat": "tfrecord"}))
    with pytest.raises(
        UserError, match=r"stored as tfrecord, expected array_record.*--file_format=array_record"
    ):
        load_dataset("tiny_images", data_dir=folder)
