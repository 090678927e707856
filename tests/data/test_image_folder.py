"""Image folders: their images and classes, scaled, sliced, damaged."""

import shutil

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from tcl_jax.data import dataset_facts, lazy
from tests.data.folders import assert_same_images, colour, grey, load, message_of, tree


def test_images_arrive_with_the_number_of_their_folder(write_tree):
    files = tree()
    dataset = load(write_tree(files))
    assert (dataset.name, dataset.class_names) == ("image_folder", ("ant", "cat"))
    for part, split in {"train/": dataset.train, "test/": dataset.test}.items():
        expected = [(image, int("/cat/" in name)) for name, image in files.items() if name.startswith(part)]
        assert_same_images(split, expected)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)


def test_more_files_than_are_read_at_a_time(write_tree):
    files = {f"train/c/{i:04}.png": np.full((1, 2), i // 5, np.uint8) for i in range(1030)}
    train = load(write_tree(files | {"test/c/0.png": files["train/c/0000.png"]})).train
    assert train.images.shape == (1030, 1, 2, 1)
    np.testing.assert_array_equal(np.sort(train.images[:, 0, 0, 0]), np.arange(1030) // 5)


@pytest.mark.parametrize("streaming", ["yes", "no"])
@pytest.mark.parametrize("whole", [lambda data: b"", lambda data: data[: len(data) // 2]])
def test_a_class_whose_training_images_are_all_damaged(write_tree, streaming, whole):
    files = tree(lambda: colour(40, 40), count=2) | {
        "train/bee/1.png": colour(40, 40),
        "test/bee/1.png": colour(40, 40),
    }
    folder = write_tree(files)
    for name in ("train/bee/1.png", "train/cat/0.png"):
        path = folder / name
        path.write_bytes(whole(path.read_bytes()))
    options = {"skip_unreadable": True, "streaming": streaming}
    assert message_of(folder, **options) == (
        f"No training image of 1 of the 3 classes in {folder} (bee) can be read: put sound images there, or remove the "
        "folders of these classes."
    )
    for part in ("train", "test"):
        shutil.rmtree(folder / part / "bee")
    assert load(folder, **options).class_names == ("ant", "cat")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("image_size", [0, 4])
def test_images_are_turned_as_the_camera_noted(write_tree, tmp_path, kind, image_size):
    """The size that all have is that of the upright images."""
    folder = write_tree({"train/x/0.png": Image.fromarray(colour(8, 6))})
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        shape = (6, 8) if orientation > 4 else (8, 6)
        Image.fromarray(colour(*shape)).save(
            folder / f"train/x/{orientation}.{kind.lower()}", kind, exif=exif
        )
    expected = set()
    for path in (folder / "train/x").iterdir():
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
        size = (image_size, image_size * 8 // 6)
        scaled = upright.resize(size, Image.Resampling.BILINEAR).crop((0, 0, 4, 4)) if image_size else upright
        expected.add(np.asarray(scaled).tobytes())
    for streaming in ("yes", "no"):
        train = load(folder, test_split="", image_size=image_size, streaming=streaming).train
        assert train.images.shape == ((9, 4, 4, 3) if image_size else (9, 8, 6, 3))
        assert {image.tobytes() for image in train.images[:]} == expected
    facts = dataset_facts("image_folder", data_dir=folder, test_split="", image_size=image_size)
    assert facts.image_shape == train.images.shape[1:]


def test_order_is_random_but_that_of_the_names(write_tree, tmp_path):
    files = tree(count=50)
    first = load(write_tree(files)).train
    assert 10 < first.labels[:50].sum() < 40  # sorted by class it would be 0
    for name in list(files):
        (tmp_path / name).unlink()
    again = load(write_tree(dict(reversed(files.items())))).train
    np.testing.assert_array_equal(again.images, first.images)


def test_splits_may_be_slices(write_tree):
    folder = write_tree(tree(count=10))
    whole = load(folder).train
    parts = load(folder, train_split="train[:60%]", test_split="train[-2:]")
    np.testing.assert_array_equal(parts.train.images, whole.images[:12])
    np.testing.assert_array_equal(parts.test.images, whole.images[18:])
    assert message_of(folder, train_split="train[:900]") == (
        "data.train_split is 'train[:900]', expected a split of the data set 'image_folder', which has train (20 "
        "images), test (2 images), or slices, as with --config.data.train_split='train[:80%]' "
        "--config.data.test_split='train[80%:]'."
    )


def test_val_stands_in_for_test(write_tree):
    files = tree()
    folder = write_tree({name.replace("test/", "val/"): image for name, image in files.items()})
    assert_same_images(load(folder).test, [(files["test/ant/0.png"], 0), (files["test/cat/0.png"], 1)])
    write_tree({"test/cat/0.png": files["train/cat/0.png"]})
    assert_same_images(load(folder).test, [(files["train/cat/0.png"], 1)])
    assert len(load(folder, test_split="val").test.labels) == 2


def test_grey_stays_grey(write_tree):
    assert load(write_tree(tree(grey))).train.images.shape == (8, 6, 5, 1)


def test_one_image_in_colour_makes_all_colour(write_tree):
    files = tree(grey)
    files["test/ant/0.png"] = colour()
    dataset = load(write_tree(files))
    assert_same_images(
        dataset.train,
        [
            (np.repeat(image[..., None], 3, -1), int("/cat/" in name))
            for name, image in files.items()
            if name.startswith("train/")
        ],
    )
    assert_same_images(
        dataset.test, [(files["test/ant/0.png"], 0), (np.dstack([files["test/cat/0.png"]] * 3), 1)]
    )


def test_image_size_scales_and_cuts(write_tree):
    image = Image.fromarray(colour(8, 20)).resize((40, 16), Image.Resampling.BICUBIC)
    folder = write_tree({"train/a/1.png": image, "train/a/2.png": colour(9, 8), "test/a/1.png": image})
    train = load(folder, image_size=8).train
    assert train.images.shape == (2, 8, 8, 3)
    expected = np.asarray(image.resize((20, 8), Image.Resampling.BILINEAR).crop((6, 0, 14, 8)))
    assert any(np.array_equal(found, expected) for found in train.images)


def test_images_of_several_sizes(write_tree):
    folder = write_tree(tree() | {"train/ant/9.png": colour(7, 5), "test/cat/9.png": colour(2, 3)})
    message = message_of(folder)
    assert f"The images in {folder} have 3 sizes (3x2 as test/cat/9.png, 5x6 as " in message
    assert "expected one: set data.image_size, as in --config.data.image_size=64" in message


def test_damaged_images_are_counted_and_named(write_tree, tmp_path, capsys):
    files = tree(lambda: colour(40, 40))
    whole = (write_tree(files) / "train/ant/0.png").read_bytes()
    damaged = {
        "train/ant/2.png": whole[: len(whole) // 2],
        "train/cat/1.png": b"no image",
        "test/ant/1.png": b"",
        "test/ant/2.png": Image.fromarray(np.zeros((40, 40), np.uint16)),
    }
    folder = write_tree(damaged)
    message = message_of(folder)
    assert message.startswith(
        f"4 of 12 images in {folder} cannot be read, the first is test/ant/1.png (cannot ident"
    )
    assert message.endswith(
        "): replace or remove them, or leave them out with --config.data.skip_unreadable=True."
    )
    dataset = load(folder, skip_unreadable=True)
    kept = {name: image for name, image in files.items() if name not in damaged}
    for part, split in {"train/": dataset.train, "test/": dataset.test}.items():
        assert_same_images(
            split, [(im, int("/cat/" in name)) for name, im in kept.items() if name.startswith(part)]
        )
    printed = capsys.readouterr().err
    assert printed.startswith(
        f"Left out: 4 of 12 images in {folder} cannot be read, the first is test/ant/1.png ("
    )


def test_truncated_image_alone(write_tree):
    """Its header is whole, so that it is found only on decoding."""
    folder = write_tree(tree(lambda: colour(40, 40)))
    path = folder / "train/cat/3.png"
    path.write_bytes(path.read_bytes()[:-2000])
    assert "1 of 10 images" in (message := message_of(folder))
    assert "the first is train/cat/3.png (" in message


@pytest.mark.parametrize(
    ("name", "dtype", "mode"),
    [
        ("9.png", np.uint16, "I;16"),
        ("9.tiff", np.uint16, "I;16"),
        ("9.tif", np.float32, "F"),
        ("9.pgm", np.int32, "I"),
    ],
)
def test_more_than_eight_bits_are_refused(write_tree, name, dtype, mode):
    folder = write_tree(tree(grey) | {f"train/ant/{name}": Image.fromarray(np.zeros((6, 5), dtype))})
    assert f"train/ant/{name} (its pixels are of Pillow's mode {mode}, expected 8 bits" in message_of(folder)


def test_nothing_left_after_leaving_out(write_tree):
    files = tree() | {"test/ant/0.png": b"", "test/cat/0.png": b""}
    folder = write_tree(files)
    assert f"None of the images of data.test_split in {folder} can be read" in message_of(
        folder, skip_unreadable=True
    )
    folder = write_tree(dict.fromkeys(files, b""))
    assert "None of the images of data.train_split in" in message_of(folder, skip_unreadable=True)


def test_too_large_for_memory_is_refused_before_decoding(write_tree, monkeypatch):
    monkeypatch.setattr(lazy, "free_memory", lambda: 1000)
    folder = write_tree(tree())
    path = folder / "train/cat/3.png"
    path.write_bytes(path.read_bytes()[:-30])
    message = message_of(folder, streaming="no")
    assert (
        "'image_folder' takes 0.0009 MB in memory (10 images of 6x5x3 bytes), expected at most 0.0008"
        in message
    )


def test_empty_class_folder(write_tree):
    folder = write_tree(tree() | {"train/bee/notes.txt": b""})
    assert message_of(folder) == (
        f"The class folder {folder / 'train/bee'} holds no images that Pillow reads (.jpg, .png, .webp and "
        "others): put some there, or remove the folder."
    )


def test_no_class_folders(write_tree):
    folder = write_tree({"train/notes.txt": b"", "test/a/1.png": colour()})
    assert f"data.data_dir is {folder}, whose folder 'train' has no class folders: put" in message_of(folder)


def test_no_train_folder(write_tree, tmp_path):
    folder = write_tree({"cat/1.png": colour()})
    assert message_of(folder).startswith(f"data.data_dir is {folder}, which has no folder 'train': give")
    assert "which has no folder 'train'" in message_of(tmp_path / "nowhere")


def test_no_data_dir():
    assert message_of("").startswith("data.name is 'image_folder' without data.data_dir: give")


def test_classes_that_are_only_in_test(write_tree):
    folder = write_tree(tree() | {f"test/{name}/1.png": colour() for name in ("eel", "bee", "dog", "fox")})
    assert message_of(folder) == (
        f"{folder / 'test'} has 4 class folders that {folder / 'train'} has not (bee, dog, eel, ...): name them as "
        "there, or remove them."
    )


def test_class_without_test_images(write_tree):
    files = tree()
    del files["test/ant/0.png"]
    dataset = load(write_tree(files))
    np.testing.assert_array_equal(dataset.test.labels, [1])
    assert dataset.class_names == ("ant", "cat")
