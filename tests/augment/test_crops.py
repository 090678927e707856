"""Crops, mirror images and cutout against NumPy's; the resized crop against PIL's resize and torchvision's windows."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tcl_jax.augment.crops import (
    cutout,
    random_crop,
    random_cutout,
    random_flip,
    random_resized_crop,
    random_window,
    resized_crop,
)

AREA, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)
DRAWS = 4000
resized_crops = jax.jit(jax.vmap(resized_crop))


def test_every_crop_is_a_window_and_all_are_equally_likely():
    image = np.random.default_rng(0).integers(1, 256, (5, 7, 3), np.uint8)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    windows = [padded[top : top + 5, left : left + 7].tobytes() for top in range(3) for left in range(3)]
    assert len(set(windows)) == 9  # all differ, so that each view identifies its window
    keys = jax.random.split(jax.random.key(0), DRAWS)
    views = np.asarray(jax.jit(jax.vmap(lambda key: random_crop(key, image, padding=1)))(keys))
    shares = np.bincount([windows.index(view.tobytes()) for view in views], minlength=9) / DRAWS
    np.testing.assert_allclose(shares, 1 / 9, atol=5 * np.sqrt(1 / 9 / DRAWS))  # five standard deviations
    np.testing.assert_array_equal(random_crop(keys[0], image, padding=0), image)


def test_half_of_the_images_are_mirrored():
    image = np.random.default_rng(0).integers(1, 256, (5, 7, 3), np.uint8)
    keys = jax.random.split(jax.random.key(0), DRAWS)
    views = np.asarray(jax.jit(jax.vmap(lambda key: random_flip(key, image)))(keys))
    mirrored = np.all(views == image[:, ::-1], axis=(1, 2, 3))
    assert np.all(mirrored ^ np.all(views == image, axis=(1, 2, 3)))
    assert abs(mirrored.mean() - 0.5) < 5 * np.sqrt(0.25 / DRAWS)


def draw_windows(height, width, draws=DRAWS):
    def one(key):
        return jnp.stack(random_window(key, height, width, area=AREA, ratio=RATIO))

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), draws)))


def torchvision_window(random, height, width):
    """RandomResizedCrop.get_params as documented, with NumPy's random numbers; and whether it fell back."""
    for _ in range(10):
        area = height * width * random.uniform(*AREA)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return random.integers(0, height - h + 1), random.integers(0, width - w + 1), h, w, False
    h, w = height, width
    if width / height < RATIO[0]:
        h = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(height * RATIO[1])
    return (height - h) // 2, (width - w) // 2, h, w, True


def farthest(first, second):
    """The Kolmogorov-Smirnov distance of two samples."""
    points = np.union1d(first, second)
    shares = [np.searchsorted(np.sort(s), points, side="right") / len(s) for s in (first, second)]
    return np.max(np.abs(shares[0] - shares[1]))


# For sizes of a power of two PIL's fixed-point weights are exact too; otherwise it may round a tie down, and small
# sizes have many ties: one in 2 w and one in 2 h.
@pytest.mark.parametrize(("shape", "unequal"), [((32, 32, 3), 0), ((20, 28, 3), 0.03), ((9, 16, 1), 0.03)])
def test_resizing_is_pils(shape, unequal):
    random = np.random.default_rng(0)
    h, w, c = shape
    images = random.integers(0, 256, (60, *shape), np.uint8)
    heights, widths = random.integers(1, h + 1, 60), random.integers(1, w + 1, 60)
    heights[0], widths[0], heights[1], widths[2] = h, w, 1, w
    tops, lefts = random.integers(0, h - heights + 1), random.integers(0, w - widths + 1)
    results = np.asarray(resized_crops(images, tops, lefts, heights, widths))
    assert results.dtype == np.uint8
    expected = []
    for image, top, left, height, width in zip(images, tops, lefts, heights, widths, strict=True):
        window = image[top : top + height, left : left + width]
        window = Image.fromarray(window if c == 3 else window[..., 0])
        expected.append(np.asarray(window.resize((w, h), Image.Resampling.BILINEAR)).reshape(h, w, c))
    distance = np.abs(results.astype(int) - np.stack(expected))
    assert distance.max() <= 1
    assert np.mean(distance > 0) <= unequal
    np.testing.assert_array_equal(results[0], images[0])  # the whole image is left as it is


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 40), (40, 10)])
def test_windows_are_distributed_as_torchvisions(height, width):
    random = np.random.default_rng(0)
    reference = np.array([torchvision_window(random, height, width) for _ in range(DRAWS)])
    fallback = reference[:, 4].mean()
    windows = draw_windows(height, width)
    top, left, h, w = windows.T
    assert min(top.min(), left.min()) >= 0
    assert np.all(top + h <= height)
    assert np.all(left + w <= width)
    bound = 2.7 * np.sqrt(2 / DRAWS)  # exceeded by chance once in a million
    for column in range(4):
        assert farthest(windows[:, column], reference[:, column]) < bound
    assert farthest(h * w, reference[:, 2] * reference[:, 3]) < bound
    assert farthest(w / h, reference[:, 3] / reference[:, 2]) < bound
    for offset, spare in ((top, height - h), (left, width - w)):  # every place is equally likely
        for places in (2, 3):
            here = offset[(spare == places - 1) & (fallback == 0)]
            shares = np.bincount(here, minlength=places) / max(len(here), 1)
            assert len(here) == 0 or np.abs(shares - 1 / places).max() < 5 * np.sqrt(0.25 / len(here))
    middle = np.all(windows == reference[reference[:, 4] == 1, :4][:1], axis=1).mean() if fallback else 0
    assert abs(middle - fallback) < 5 * np.sqrt(0.25 * 2 / DRAWS)


def test_area_and_ratio_have_the_stated_distributions():
    size = 1000  # large, so that rounding to whole pixels does not show
    windows = draw_windows(size, size)
    _, _, h, w = windows.T
    share, ratio = h * w / size**2, np.log(w / h) / math.log(4 / 3)
    assert share.min() > 0.2 - 0.002
    assert share.max() <= 1
    assert np.abs(ratio).max() < 1 + 0.01
    inside = share < 0.7  # below 3/4 every ratio fits, so that nothing is drawn again
    grid = np.linspace(0, 1, 100001)
    bound = 2.7 / np.sqrt(inside.sum())
    assert farthest(share[inside], 0.2 + 0.5 * grid) < bound
    assert farthest(ratio[inside], 2 * grid - 1) < bound
    offset = windows[inside, :2] / (size - windows[inside, 2:])
    assert farthest(offset[:, 0], grid) < bound
    assert farthest(offset[:, 1], grid) < bound


@pytest.mark.parametrize(
    ("height", "width", "window"), [(4, 40, [0, 17, 4, 5]), (40, 4, [17, 0, 5, 4]), (1, 1, [0, 0, 1, 1])]
)
def test_where_nothing_fits_the_middle_is_taken(height, width, window):
    np.testing.assert_array_equal(draw_windows(height, width, draws=50), [window] * 50)


def test_the_random_crop_is_the_window_resized():
    images = np.random.default_rng(0).integers(0, 256, (60, 20, 28, 3), np.uint8)
    windows = draw_windows(20, 28, draws=60)
    views = jax.jit(jax.vmap(random_resized_crop))(jax.random.split(jax.random.key(0), 60), images)
    np.testing.assert_array_equal(views, resized_crops(images, *windows.T))


@pytest.mark.parametrize("size", [0, 1, 4, 5, 40])
def test_cutout_is_a_square_about_its_pixel(size):
    image = np.random.default_rng(0).integers(1, 256, (9, 12, 3), np.uint8)
    for row in range(9):
        for column in range(12):
            expected = image.copy()
            top, left = row - size // 2, column - size // 2
            expected[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
            np.testing.assert_array_equal(cutout(image, row, column, size=size), expected)


def test_every_pixel_is_the_middle_of_a_random_cutout_equally_often():
    draws, places = 20_000, 35
    keys = jax.random.split(jax.random.key(0), draws)
    image = jnp.ones((5, 7, 1), jnp.uint8)
    views = np.asarray(jax.jit(jax.vmap(lambda key: random_cutout(key, image, size=1)))(keys))
    assert np.all(np.sum(views == 0, axis=(1, 2, 3)) == 1)
    shares = np.mean(views == 0, axis=0)
    np.testing.assert_allclose(shares, 1 / places, atol=5 * np.sqrt(1 / places / draws))


def test_other_dtypes_are_refused():
    with pytest.raises(
        ValueError, match=r"random_resized_crop expects .* \[h, w, c\], got float32 \[4, 5, 2\]"
    ):
        random_resized_crop(jax.random.key(0), np.zeros((4, 5, 2), np.float32))
