import hashlib
import io
import sys

import numpy as np
import pytest
from PIL import Image

from tcl_jax.data import load_dataset
from tcl_jax.data.imagenet100 import CLASSES
from tcl_jax.errors import UserError

RANDOM = np.random.RandomState(6)


def photo(mode="RGB", size=(7, 6)):
    """The bytes of a small JPEG file."""
    pixels = Image.fromarray(RANDOM.randint(0, 256, (size[1], size[0], 3), np.uint8)).convert(mode)
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def imagenet(tmp_path):
    """ImageNet in small: two training images and one for validation in each of the 100 classes and one more."""
    root = tmp_path / "ILSVRC2012"
    for wordnet_id in (*CLASSES, "n00000001"):
        for folder, count in {"train": 2, "val": 1}.items():
            place = root / folder / wordnet_id
            place.mkdir(parents=True)
            for i in range(count):
                (place / f"{wordnet_id}_{folder}_{i}.JPEG").write_bytes(photo())
    return root


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def message_of(data_dir):
    with pytest.raises(UserError) as error:
        load_dataset("imagenet100", data_dir=data_dir)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_the_list_is_the_official_one():
    """By a checksum of IN100.txt, whose lines were sorted and joined by blanks."""
    assert len(set(CLASSES)) == 100
    digest = hashlib.sha256(" ".join(CLASSES).encode()).hexdigest()
    assert digest == "469d277522bc36e827b1bc5121a8d837f7c0fe14737e8326ce34c6e5553f75af"


def test_prepares_and_loads_without_tensorflow(imagenet):
    """A grey file and one in CMYK, as ImageNet has some, become colour."""
    odd = {0: imagenet / f"train/{CLASSES[3]}/{CLASSES[3]}_train_0.JPEG"}
    odd[1] = imagenet / f"train/{CLASSES[4]}/{CLASSES[4]}_train_1.JPEG"
    odd[0].write_bytes(photo("L"))
    odd[1].write_bytes(photo("CMYK"))
    dataset = load_dataset("imagenet100", data_dir=imagenet)
    assert dataset.class_names == CLASSES
    assert (dataset.train.images.shape, dataset.test.images.shape) == ((200, 6, 7, 3), (100, 6, 7, 3))
    for folder, split in {"train": dataset.train, "val": dataset.test}.items():
        expected = {
            (pixels_of(path).tobytes(), label)
            for label, wordnet_id in enumerate(CLASSES)
            for path in (imagenet / folder / wordnet_id).iterdir()
        }
        found = {(image.tobytes(), int(label)) for image, label in zip(*split, strict=True)}
        assert found == expected
    assert "tensorflow" not in sys.modules
    # The second time it is found prepared, and can be cut to another size.
    (imagenet / "train").rename(imagenet / "elsewhere")
    assert load_dataset("imagenet100", data_dir=imagenet, image_size=4).train.images.shape == (200, 4, 4, 3)


def test_imagenet_may_lie_where_tfds_expects_what_it_cannot_download(imagenet, tmp_path):
    data_dir = tmp_path / "data"
    (data_dir / "downloads").mkdir(parents=True)
    (data_dir / "downloads/manual").symlink_to(imagenet)
    dataset = load_dataset("imagenet100", data_dir=data_dir, train_split="train[:10]")
    assert len(dataset.train.labels) == 10
    assert not (imagenet / "imagenet100").exists()


def test_wrong_folder(tmp_path):
    message = message_of(tmp_path)
    assert message.startswith(
        f"The data set 'imagenet100' is not prepared in {tmp_path}, and there is no ImageNet"
    )
    assert "train/<WordNet id>/*.JPEG and val/<WordNet id>/*.JPEG" in message
    assert message.endswith(f"or link that folder to {tmp_path / 'downloads/manual'}.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["train", "val"])
def test_missing_classes_are_counted_and_named(imagenet, folder):
    """One folder is missing, three are empty."""
    for wordnet_id in CLASSES[5:9]:
        for path in (imagenet / folder / wordnet_id).iterdir():
            path.unlink()
    (imagenet / folder / CLASSES[5]).rmdir()
    assert message_of(imagenet) == (
        f"{imagenet / folder} lacks 4 of the 100 classes of imagenet100 ({', '.join(CLASSES[5:8])}, ...): put their "
        f"images there, as {folder}/<WordNet id>/*.JPEG, and repeat the command."
    )
    assert not (imagenet / "imagenet100").exists()


def test_validation_images_that_are_not_sorted_into_classes(imagenet):
    """As they come out of ImageNet's archive."""
    (imagenet / "val").rename(imagenet / "sorted")
    (imagenet / "val").mkdir()
    (imagenet / "val/ILSVRC2012_val_00000001.JPEG").write_bytes(photo())
    assert f"{imagenet / 'val'} lacks 100 of the 100 classes" in message_of(imagenet)
