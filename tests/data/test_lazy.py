"""What is streamed from disk is what would be in memory: the same batches, in the same order, from any of them on."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from tcl_jax.data import channel_statistics, dataset, lazy, load_dataset, padded_batches, train_batches
from tcl_jax.data.lazy import LazyImages
from tcl_jax.errors import RunFailed, UserError


@pytest.fixture
def write_folder(tmp_path):
    """An image folder of 12 training and 4 test images of 9x7 pixels and more."""

    def write(size=(9, 7)):
        rng = np.random.default_rng(0)
        for number in range(16):
            part = "train" if number < 12 else "test"
            path = tmp_path / part / ("ant", "bee")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
        return tmp_path

    return write


@pytest.fixture(params=["tiny_images", "image_folder"])
def stored(request, write_images, write_folder):
    """Name and folder of a data set of a TFDS file, and of one of image files."""
    return request.param, write_images() if request.param == "tiny_images" else write_folder()


def both(stored, **options):
    name, folder = stored
    return [
        load_dataset(name, data_dir=folder, streaming=streaming, **options) for streaming in ("no", "yes")
    ]


def assert_same_batches(ours, expected):
    ours, expected = list(ours), list(expected)
    assert len(ours) == len(expected) > 1
    for batch, other in zip(ours, expected, strict=True):
        for array, other_array in zip(batch, other, strict=True):
            assert array.dtype == other_array.dtype
            np.testing.assert_array_equal(array, other_array)


@pytest.mark.parametrize("image_size", [0, 4])
def test_batches_are_those_of_the_data_in_memory(stored, image_size):
    in_memory, streamed = both(stored, image_size=image_size)
    assert streamed.train.images.shape == in_memory.train.images.shape
    assert streamed.channel_statistics == in_memory.channel_statistics
    for first_batch in (0, 1):
        assert_same_batches(
            *(
                train_batches(data.train, 4, seed=3, epoch=1, first_batch=first_batch)
                for data in (streamed, in_memory)
            )
        )
    assert_same_batches(*(padded_batches(data.test, 3) for data in (streamed, in_memory)))


def test_an_epoch_repeats_and_loses_no_example(stored):
    _, streamed = both(stored)
    count = len(streamed.train.labels)
    seen = [batch.indices for batch in train_batches(streamed.train, 4, seed=0, epoch=0)]
    assert sorted(np.concatenate(seen)) == list(range(count))


def test_a_selection_is_read_when_it_is_needed():
    fetched = []

    def fetch(position):
        fetched.append(int(position))
        return np.full((2, 2, 1), position, np.uint8)

    images = LazyImages(fetch, range(50), (2, 2, 1))
    some = images.select(np.array([40, 3, 7])).select(np.array([2, 0]))
    assert (some.shape, fetched) == ((2, 2, 2, 1), [])
    assert some[:][:, 0, 0, 0].tolist() == [7, 40]
    assert sorted(fetched) == [7, 40]


def test_the_next_batches_are_read_while_one_is_used():
    read_ahead, positions = threading.Event(), set()

    def fetch(position):
        positions.add(int(position))
        if len(positions) > 4:
            read_ahead.set()
        return np.zeros((2, 2, 1), np.uint8)

    split = dataset.Split(LazyImages(fetch, range(40), (2, 2, 1)), np.zeros(40, np.int32))
    next(train_batches(split, 4, seed=0, epoch=0))
    assert read_ahead.wait(timeout=60)  # the second batch, for which nobody has asked


def test_many_images_are_counted_in_part(monkeypatch):
    monkeypatch.setattr(dataset, "_LARGEST_COUNTED", 10)
    images = np.arange(0, 250, dtype=np.uint8).repeat(4).reshape(250, 2, 2, 1)
    fetched = []
    streamed = LazyImages(lambda i: fetched.append(int(i)) or images[i], range(250), (2, 2, 1))
    assert channel_statistics(streamed) == channel_statistics(images) == channel_statistics(images[::25])
    assert sorted(fetched) == list(range(0, 250, 25))


def test_an_image_of_another_size_is_named_when_it_is_met(write_folder, tmp_path):
    folder = write_folder()
    streamed = load_dataset("image_folder", data_dir=folder, streaming="yes")
    Image.new("RGB", (3, 3)).save(folder / "train" / "ant" / "0.png")
    with pytest.raises(RunFailed, match=r"0\.png cannot be read .its size is .3, 3, 3., it was .9, 7, 3."):
        list(train_batches(streamed.train, 4, seed=0, epoch=0))


def test_an_image_that_turns_out_damaged_is_named(write_folder):
    folder = write_folder()
    damaged = folder / "train" / "bee" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:120])  # its header is sound
    streamed = load_dataset("image_folder", data_dir=folder, streaming="yes")
    with pytest.raises(
        RunFailed, match=r"The image .*1\.png cannot be read .*: replace it and repeat the command"
    ):
        list(train_batches(streamed.train, 4, seed=0, epoch=0))
    streamed = load_dataset("image_folder", data_dir=folder, streaming="yes", skip_unreadable=True)
    assert len(streamed.train.labels) == 11
    assert sum(len(batch.labels) for batch in train_batches(streamed.train, 4, seed=0, epoch=0)) == 8


def test_a_tfds_image_of_another_size_is_refused(write_images):
    def png(size):
        file = io.BytesIO()
        Image.new("RGB", size).save(file, "PNG")
        return file.getvalue()

    examples = [{"image": png((6, 5) if i != 7 else (5, 6)), "label": i % 3} for i in range(10)]
    folder = write_images({"train": examples, "test": examples[:3]})
    streamed = load_dataset("tiny_images", data_dir=folder, streaming="yes")
    with pytest.raises(UserError, match=r"give all the same with data\.image_size"):
        list(train_batches(streamed.train, 2, seed=0, epoch=0))


@pytest.fixture
def free(monkeypatch):
    """Sets the free memory."""
    return lambda count: monkeypatch.setattr(lazy, "free_memory", lambda: count)


def test_data_set_that_does_not_fit(write_images, free):
    folder = write_images()  # 30 images of 6x5x3
    free(3374)  # 80 % of it are 2699 bytes
    with pytest.raises(UserError) as error:
        load_dataset("tiny_images", data_dir=folder, streaming="no")
    assert str(error.value) == (
        "The data set 'tiny_images' takes 0.0027 MB in memory (30 images of 6x5x3 bytes), expected at most "
        "0.0027 MB, which is 80 % of what is free: leave it on disk with data.streaming=auto, or give a smaller "
        "data.image_size."
    )
    free(3375)
    assert len(load_dataset("tiny_images", data_dir=folder, streaming="no").train.images) == 20


def test_what_does_not_fit_stays_on_disk_unless_streaming_says_otherwise(write_images, free):
    folder = write_images()

    def is_lazy(**options):
        return isinstance(load_dataset("tiny_images", data_dir=folder, **options).train.images, LazyImages)

    free(3374)
    assert is_lazy()
    free(3375)
    assert not is_lazy()
    assert is_lazy(streaming="yes")
    with pytest.raises(UserError, match=r"data.streaming is 'maybe', expected one of auto, yes, no\."):
        is_lazy(streaming="maybe")


def test_size_that_counts_is_that_after_scaling(write_images, free):
    folder = write_images()
    free(30 * 4 * 4 * 3 / 0.8)
    assert load_dataset("tiny_images", data_dir=folder, image_size=4).train.images.shape == (20, 4, 4, 3)
    with pytest.raises(UserError, match="30 images of 5x5x3 bytes"):
        load_dataset("tiny_images", data_dir=folder, image_size=5, streaming="no")


def test_large_numbers_are_given_in_gigabytes(free):
    free(16 * 10**9)
    with pytest.raises(UserError, match=r"takes 19\.8 GB .*131,689 images.* at most 12\.8 GB"):
        lazy.stays_on_disk("imagenet100", 131_689, (224, 224, 3), streaming="no")


def test_free_memory_is_what_linux_or_the_container_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(lazy, "_CGROUP_LIMIT", tmp_path / "memory.max")
    physical = lazy.free_memory()
    assert physical > 2**20
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "meminfo").write_text("MemTotal:  900 kB\nMemAvailable:   500 kB\n")
    assert lazy.free_memory() == 500 * 1024
    (tmp_path / "memory.max").write_text("1000\n")
    assert lazy.free_memory() == 1000
