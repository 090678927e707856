"""Folders of small images, as users bring them, and what is read of them."""

import numpy as np
import pytest

from tcl_jax.data import load_dataset
from tcl_jax.errors import UserError

RANDOM = np.random.RandomState(5)


def colour(height=6, width=5):
    return RANDOM.randint(0, 256, (height, width, 3), np.uint8)


def grey(height=6, width=5):
    return RANDOM.randint(0, 256, (height, width), np.uint8)


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
