"""Small pictures, and where each lies on a sheet."""

import io

import numpy as np
import pytest
from PIL import Image

from tcl_jax.report.thumbnails import encoded, picture_of, sprites, thumbnail, thumbnails

RANDOM = np.random.RandomState(3)


def smooth(count, side, channels):
    """Images without fine detail, which JPEG keeps nearly as they are."""
    return RANDOM.randint(0, 256, (count, 2, 2, channels), np.uint8).repeat(side // 2, 1).repeat(side // 2, 2)


@pytest.mark.parametrize(
    ("count", "side", "channels", "kind"),
    [
        (1, 8, 1, "png"),
        (7, 8, 1, "png"),
        (360, 8, 1, "png"),
        (5, 30, 4, "png"),
        (500, 28, 3, "jpeg"),
        (1400, 28, 1, "jpeg"),
    ],
)
def test_every_picture_lies_where_the_sheet_says(count, side, channels, kind):
    images = smooth(count, side, channels)
    sheet = sprites(images)
    assert sheet.kind == kind
    assert (sheet.width, sheet.height) == (side, side)
    with Image.open(io.BytesIO(sheet.data)) as opened:
        assert opened.format.lower() == kind
        pixels = np.asarray(opened).reshape(opened.height, opened.width, -1)
    for place, image in enumerate(images):
        top, left = (place // sheet.columns) * sheet.pitch[1], (place % sheet.columns) * sheet.pitch[0]
        found = pixels[top : top + side, left : left + side]
        if kind == "png":
            np.testing.assert_array_equal(found, image)
        else:
            far = np.abs(found.astype(int) - image)
            assert far.mean() < 4
            assert max(far[-1].mean(), far[:, -1].mean()) < 4  # beside the next picture
    assert sheet.columns**2 <= count + 2 * sheet.columns  # nearly square


@pytest.mark.parametrize("channels", [1, 3])
def test_large_images_become_small_and_small_ones_stay(channels):
    images = RANDOM.randint(0, 256, (3, 200, 100, channels), np.uint8)
    small = thumbnails(images, np.array([2, 0]))
    assert small.shape == (2, 48, 24, channels)
    np.testing.assert_allclose(small[0].mean((0, 1)), images[2].mean((0, 1)), atol=1.5)
    tiny = RANDOM.randint(0, 256, (3, 8, 8, channels), np.uint8)
    np.testing.assert_array_equal(thumbnails(tiny, np.array([1, 1])), tiny[[1, 1]])
    assert thumbnail(np.zeros((1, 300, channels), np.uint8), largest=48).size == (48, 1)


@pytest.mark.parametrize(("channels", "shown"), [(2, [0]), (5, [0, 1, 2]), (13, [0, 1, 2])])
def test_of_channels_that_no_picture_has_the_first_are_shown(channels, shown):
    images = RANDOM.randint(0, 256, (3, 8, 8, channels), np.uint8)
    expected = images[..., shown]
    np.testing.assert_array_equal(np.asarray(picture_of(images[0])).reshape(8, 8, -1), expected[0])
    np.testing.assert_array_equal(thumbnails(images, np.arange(3)), expected)
    assert encoded(thumbnail(images[0], largest=8), "jpeg")
    assert sprites(thumbnails(images, np.arange(3))).kind == "png"


def test_few_images_are_read_at_a_time(monkeypatch):
    monkeypatch.setattr("tcl_jax.report.thumbnails._AT_A_TIME", 4)
    asked = []

    class Images:
        def __getitem__(self, positions):
            asked.append(len(positions))
            return np.full((len(positions), 8, 8, 1), positions[:, None, None, None], np.uint8)

    found = thumbnails(Images(), np.arange(10))
    assert asked == [4, 4, 2]
    np.testing.assert_array_equal(found[:, 0, 0, 0], np.arange(10))
