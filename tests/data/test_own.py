"""Data sets of the user's own, by data.name = "module:attribute"."""

import json
import sys
import textwrap

import numpy as np
import pytest

from tcl_jax.data import LazyImages, dataset_facts, load_dataset, padded_batches, train_batches
from tcl_jax.errors import UserError

MODULE = "own_flowers"
GOOD = """
    import numpy as np
    from tcl_jax.data import Dataset, LazyImages, Split

    images = np.random.RandomState(0).randint(0, 256, (12, 6, 5, 3), np.uint8)
    labels = np.arange(12) % 3
    names = ["ant", "bee", "cat"]

    def load():
        train, test = Split(images[:8], labels[:8]), Split(images[8:], labels[8:])
        return Dataset("flowers", train=train, test=test, class_names=names)

    def stream():
        def fetch(position):
            return images[position]
        train = Split(LazyImages(fetch, range(8), (6, 5, 3)), labels[:8])
        return Dataset("flowers", train, Split(LazyImages(fetch, range(8, 12), (6, 5, 3)), labels[8:]), names)
"""
IMAGES = np.random.RandomState(0).randint(0, 256, (12, 6, 5, 3), np.uint8)
LABELS = np.arange(12) % 3


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Writes the user's module into the current folder, where the command finds it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)

    def write(more="", code=GOOD):
        (tmp_path / f"{MODULE}.py").write_text(textwrap.dedent(code) + textwrap.dedent(more))

    yield write
    sys.modules.pop(MODULE, None)


def message_of(attribute):
    with pytest.raises(UserError) as error:
        load_dataset(f"{MODULE}:{attribute}")
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


def test_images_and_labels_arrive_unchanged(write_module):
    write_module()
    dataset = load_dataset(f"{MODULE}:load")
    assert (dataset.name, dataset.class_names) == ("flowers", ("ant", "bee", "cat"))
    for split, part in ((dataset.train, slice(8)), (dataset.test, slice(8, 12))):
        np.testing.assert_array_equal(split.images, IMAGES[part])
        np.testing.assert_array_equal(split.labels, LABELS[part])
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
    assert dataset.channel_statistics.mean == pytest.approx((IMAGES[:8] / 255).mean((0, 1, 2)))


def test_images_may_stay_on_disk(write_module):
    write_module()
    in_memory, streamed = (load_dataset(f"{MODULE}:{name}") for name in ("load", "stream"))
    assert isinstance(streamed.train.images, LazyImages)
    assert streamed.channel_statistics == in_memory.channel_statistics
    pairs = [
        (train_batches(data.train, 4, seed=1, epoch=2) for data in (in_memory, streamed)),
        (padded_batches(data.test, 3) for data in (in_memory, streamed)),
    ]
    for ours, expected in pairs:
        for batch, other in zip(ours, expected, strict=True):
            for array, other_array in zip(batch, other, strict=True):
                assert array.dtype == other_array.dtype
                np.testing.assert_array_equal(array, other_array)


def test_a_function_is_given_what_it_asks_for(write_module):
    write_module("""
        asked = []

        def some(image_size, *, data_dir, more=7, streaming="unused"):
            asked.append((image_size, data_dir, more, streaming))
            return load()

        def rest(train_split, test_split):
            asked.append((train_split, test_split))
            return load()
    """)
    options = dict(data_dir="/data", train_split="a", test_split="b", image_size=32, streaming="yes")
    load_dataset(f"{MODULE}:some", **options)
    load_dataset(f"{MODULE}:rest", **options)
    assert sys.modules[MODULE].asked == [(32, "/data", 7, "yes"), ("a", "b")]


def test_facts_are_those_of_the_data_set(write_module):
    write_module("""
        def half(train_split, test_split):
            assert (train_split, test_split) == ("first", "second")
            return Dataset("flowers", Split(images[:4], labels[:4]), load().test, names)
    """)
    found = dataset_facts(f"{MODULE}:half", train_split="first", test_split="second")
    assert found == ((6, 5, 3), 3, 4, f"counted by {MODULE}:half")
    assert dataset_facts(f"{MODULE}:stream")[:3] == ((6, 5, 3), 3, 8)


def test_a_name_with_a_version_is_that_of_tfds(write_images):
    assert load_dataset("tiny_images:1.2.0", data_dir=write_images()).name == "tiny_images:1.2.0"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("(images, labels)", "returned a tuple, expected a tcl_jax.data.Dataset: return one, as in"),
        (
            "Dataset('', None, load().test, names)",
            "a split 'train' whose images are a NoneType, expected",
        ),
        (
            "Dataset('', load().train, Split(images, labels - 1), names)",
            "returned a split 'test' with images without a class (label -1), which nothing can be judged by: label all",
        ),
        (
            "made(images / 255)",
            "a split 'train' whose images are ndarray float64 [12, 6, 5, 3], expected a NumPy",
        ),
        (
            "made(images[..., 0])",
            "images are ndarray uint8 [12, 6, 5], expected a NumPy array uint8 [n, h, w, c]",
        ),
        ("made(list(images))", "images are a list, expected a NumPy array uint8"),
        (
            "made(images[:11])",
            "images are 11 and labels 12, expected one label for each image: return as many",
        ),
        ("made(images[:0], labels[:0])", "images are an empty array, expected at least one image: see that"),
        (
            "made(images, labels / 1)",
            "labels are ndarray float64 [12], expected a NumPy array of integers [n]",
        ),
        (
            "made(images, labels[:, None])",
            "labels are ndarray int64 [12, 1], expected a NumPy array of integers",
        ),
        ("made(images, list(labels))", "labels are a list, expected a NumPy array of integers"),
        (
            "made(images, labels + 1)",
            "labels hold 3, expected 0 to 2, or -1 for an image without a class, as there are 3 class names: number",
        ),
        ("made(images, labels - 2)", "labels hold -2, expected 0 to 2, or -1 for an image without a class"),
        (
            "made(names=[0, 1, 2])",
            "returned class_names [0, 1, 2], expected a tuple of strings, one for each",
        ),
        (
            "made(names=())",
            "labels hold 0, expected -1 for an image without a class, as there are 0 class names",
        ),
        ("made(names='cat')", "returned class_names 'cat', expected a tuple of strings, one for each"),
        (
            "made(images[:, :4])",
            "returned training images of [4, 5, 3] and test images of [6, 5, 3], expected one height, width and",
        ),
        (
            "made(LazyImages(lambda i: images[i] / 255, range(12), (6, 5, 3)))",
            "Image 0 is read as float64 [6, 5, 3], expected uint8 [6, 5, 3]: return that from the function",
        ),
        (
            "made(LazyImages(lambda i: images[i][:1], range(12), (6, 5, 3)))",
            "Image 0 is read as uint8 [1, 5, 3], expected uint8 [6, 5, 3]: return that from the function",
        ),
        (
            "made(LazyImages(lambda i: images[i], range(12), (6, 5)))",
            "images are a LazyImages, expected a NumPy",
        ),
    ],
)
def test_what_is_returned_is_checked(write_module, returned, expected):
    write_module(f"""
        def made(images=images, labels=labels, names=names):
            return Dataset("flowers", Split(images, labels), load().test, names)

        def wrong():
            return {returned}
    """)
    assert expected in message_of("wrong")


def test_images_may_be_without_a_class_and_a_test_split(write_module):
    write_module("""
        def unnamed():
            return Dataset("flowers", Split(images, np.full(12, -1)), None, ())

        def some():
            return Dataset("flowers", Split(images, labels - 1), None, names)
    """)
    dataset = load_dataset(f"{MODULE}:unnamed")
    assert (dataset.test, dataset.class_names, dataset.train.is_labelled) == (None, (), False)
    np.testing.assert_array_equal(dataset.train.labels, np.full(12, -1, np.int32))
    np.testing.assert_array_equal(load_dataset(f"{MODULE}:some").train.labels, LABELS - 1)
    assert dataset_facts(f"{MODULE}:unnamed")[:3] == ((6, 5, 3), 0, 12)
    assert load_dataset(f"{MODULE}:load").train.is_labelled


def test_class_names_can_be_printed_and_stored(write_module):
    write_module("""
        def listed():
            return Dataset("flowers", load().train, load().test, ["caf\\udce9", "na\\u00efve", "猫"])
    """)
    names = load_dataset(f"{MODULE}:listed").class_names
    assert names == ("caf\\udce9", "naïve", "猫")
    json.dumps(names, ensure_ascii=False).encode()


def test_no_test_split_is_asked_for(write_module):
    write_module()
    assert load_dataset(f"{MODULE}:load", test_split="").test is None


def test_what_is_not_there_is_named(write_module):
    write_module("""
        def needs(folder):
            return load()
    """)
    assert "has no 'laod': did you mean 'load'?" in message_of("laod")
    assert "data.name names a ndarray, expected something that can be called" in message_of("images")
    assert "needs 'folder'" in message_of("needs")
    with pytest.raises(UserError, match=r"'own_missing:load', but its module cannot be imported"):
        load_dataset("own_missing:load")
