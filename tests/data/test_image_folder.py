import json
import os
import pathlib
import shutil
from typing import ClassVar

import fsspec
import numpy as np
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem
from PIL import ExifTags, Image, ImageOps

from tcl_jax.data import Split, dataset_facts, lazy, load_dataset
from tcl_jax.data.class_folders import readable
from tcl_jax.data.identity import identity
from tcl_jax.errors import UserError

from .conftest import encoded

RANDOM = np.random.RandomState(5)


def colour(height=6, width=5):
    return RANDOM.randint(0, 256, (height, width, 3), np.uint8)


def grey(height=6, width=5):
    return RANDOM.randint(0, 256, (height, width), np.uint8)


@pytest.fixture
def write_tree(tmp_path):
    """Writes files, given as {"train/cat/1.png": array, image or bytes}, and returns the folder."""

    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                image = Image.fromarray(content) if isinstance(content, np.ndarray) else content
                image.save(path)
        return tmp_path

    return write


def tree(image=colour, count=4):
    """Two classes, of `count` images to train on and one to test on."""
    files = {f"train/{name}/{i}.png": image() for name in ("cat", "ant") for i in range(count)}
    return files | {"test/ant/0.png": image(), "test/cat/0.png": image()}


def load(folder, **options):
    return load_dataset("image_folder", data_dir=folder, **options)


def message_of(folder, **options):
    with pytest.raises(UserError) as error:
        load(folder, **options)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def assert_same_images(split, expected):
    """In whatever order: {array: label}."""
    found = {(image.tobytes(), int(label)) for image, label in zip(*split, strict=True)}
    assert found == {(image.tobytes(), label) for image, label in expected}
    assert len(split.labels) == len(expected)


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
    assert "is a link to a folder that it lies in, without an end: remove the link." in message_of(folder)


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
        f"data.test_split is 'test', but 3 images in {folder} lie in no class folder, such as {prefix}0.png: train "
        "without evaluation, by --config.data.test_split='', or put the images of each class into a folder of its own, "
        "train/<class>/ or test/<class>/."
    )
    assert message_of(folder) == expected
    with pytest.raises(UserError, match="lie in no class folder"):
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
    """As competitions have them: they are no hindrance where they are not asked for."""
    files = tree() | {"test/1.png": colour()}
    folder = write_tree({name: image for name, image in files.items() if not name.startswith("test/a")})
    (folder / "test/cat/0.png").rename(folder / "test/2.png")
    (folder / "test/cat").rmdir()
    assert "data.test_split is 'test', but 2 images in" in (message := message_of(folder))
    assert "lie in no class folder, such as test/1.png: train without evaluation" in message
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
    assert f"There are no class folders in {folder / 'train'}: put the images of" in message_of(folder)


def test_no_train_folder(write_tree, tmp_path):
    folder = write_tree({"cat/1.png": colour()})
    assert message_of(folder).startswith(f"There is no folder 'train' in {folder}: give as data.data_dir")
    assert "There is no folder 'train' in" in message_of(tmp_path / "nowhere")


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
