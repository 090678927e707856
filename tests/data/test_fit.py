"""Images of one data set made those of another, against PIL."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from tcl_jax.data.decode import decode_image
from tcl_jax.data.fit import fit_images
from tcl_jax.data.lazy import LazyImages

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def pictures(height, width, channels):
    rng = np.random.default_rng(channels)
    return rng.integers(0, 256, (3, height, width, channels), np.uint8)


def as_file(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("to", MODES)
@pytest.mark.parametrize("channels", MODES)
@pytest.mark.parametrize("size", [4, 8, 12])
def test_squares_are_made_as_files_are_decoded(channels, to, size):
    images = pictures(8, 8, channels)
    found = fit_images(images, (size, size, to))
    assert (found.shape, found.dtype) == ((3, size, size, to), np.uint8)
    expected = [decode_image(as_file(image), channels=to, size=size) for image in images]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(6, 10, 1), (10, 6, 3), (3, 3, 1), (20, 20, 3)])
@pytest.mark.parametrize("size", [(8, 8), (5, 9), (9, 5)])
def test_other_sizes_cover_the_new_one_and_are_cut(size, shape):
    images = pictures(*size, 3)
    found = fit_images(images, shape)
    for image, made in zip(images, found, strict=True):
        picture = Image.fromarray(image).convert(MODES[shape[-1]])
        expected = ImageOps.fit(picture, shape[1::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(made, np.asarray(expected).reshape(shape))


def test_images_on_disk_stay_there():
    images, read = pictures(8, 8, 3), []
    lazy = LazyImages(lambda position: read.append(position) or images[position], range(3), (8, 8, 3))
    found = fit_images(lazy, (4, 4, 1))
    assert (found.shape, read) == ((3, 4, 4, 1), [])
    np.testing.assert_array_equal(found[[2, 0]], fit_images(images, (4, 4, 1))[[2, 0]])
    assert sorted(read) == [0, 2]
    assert fit_images(lazy, (8, 8, 3)) is lazy


def test_what_need_not_be_changed_may_have_any_number_of_channels():
    images = pictures(4, 4, 5)
    assert fit_images(images, (4, 4, 5)) is images
    for shape in ((4, 4, 3), (8, 8, 5)):
        with pytest.raises(ValueError, match="Images of 5 channels cannot be scaled or converted"):
            fit_images(images, shape)
    with pytest.raises(ValueError, match="Images of 2 channels"):
        fit_images(pictures(4, 4, 3), (4, 4, 2))
