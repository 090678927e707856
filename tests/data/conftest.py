"""Small TFDS data sets, written in the original layout without TensorFlow."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image


def encoded(image: np.ndarray) -> bytes:
    """The image as a PNG file: TFDS would need TensorFlow to write an array."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def default_examples() -> dict[str, list]:
    """Random 6x5 colour images: 20 to train on, 10 to test on, in three classes."""
    images = np.random.RandomState(0).randint(0, 256, (30, 6, 5, 3), np.uint8)
    examples = [{"image": encoded(image), "label": i % 3} for i, image in enumerate(images)]
    return {"train": examples[:20], "test": examples[20:]}


class TinyImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set of any examples; `features` and `examples` are set by `write`."""

    name = "tiny_images"
    VERSION = tfds.core.Version("1.2.0")
    features: dict
    examples: dict

    def _info(self):
        # The order is kept so that the tests can name each image.
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(self.features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {split: enumerate(examples) for split, examples in self.examples.items()}

    def _generate_examples(self):
        raise NotImplementedError


@pytest.fixture
def write_images(tmp_path):
    """Prepares the data set `tiny_images` in tmp_path and returns that folder."""

    def write(examples=None, *, image=None, label=None, others=None, version="1.2.0", name="tiny_images"):
        features = {
            "image": image or tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": label or tfds.features.ClassLabel(names=["ant", "bee", "cat"]),
            **(others or {}),
        }
        attributes = {
            "name": name,
            "features": {key: feature for key, feature in features.items() if feature != "absent"},
            "examples": examples or default_examples(),
            "VERSION": tfds.core.Version(version),
        }
        builder_class = type("TinyImages", (TinyImages,), attributes, skip_registration=True)
        builder_class(data_dir=tmp_path, file_format="array_record").download_and_prepare()
        return tmp_path

    return write


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
