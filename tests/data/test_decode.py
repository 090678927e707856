import io
import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from tcl_jax.data.decode import decode_image, upright_size

RANDOM = np.random.RandomState(3)


def photo(height, width, mode="RGB"):
    """A random picture, smooth enough that a wrong place or filter shows without being mere noise."""
    small = Image.fromarray(RANDOM.randint(0, 256, (5, 7, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def file_of(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size_of_file", "scaled", "box"),
    [  # all as (width, height), and (left, top, right, bottom)
        ((60, 30), (20, 10), (5, 0, 15, 10)),
        ((30, 75), (10, 25), (0, 8, 10, 18)),  # 7.5 rows too many above: rounded to the even number
        ((40, 41), (10, 10), (0, 0, 10, 10)),  # 10.25 is rounded down
        ((5, 6), (10, 12), (0, 1, 10, 11)),
        ((10, 10), (10, 10), (0, 0, 10, 10)),
        ((10, 14), (10, 14), (0, 2, 10, 12)),
    ],
)
def test_shorter_side_is_scaled_by_bilinear_filter_and_the_longer_one_cut_at_both_ends(
    size_of_file, scaled, box
):
    image = photo(size_of_file[1], size_of_file[0])
    expected = np.asarray(image.resize(scaled, Image.Resampling.BILINEAR).crop(box))
    np.testing.assert_array_equal(decode_image(file_of(image), channels=3, size=10), expected)


def test_making_smaller_averages():
    """A fine checkerboard becomes grey; without antialias it would stay black and white."""
    checkerboard = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    small = decode_image(file_of(checkerboard), channels=1, size=8)
    assert small.shape == (8, 8, 1)
    assert 120 <= small.min() <= small.max() <= 135


def test_size_zero_keeps_the_pixels():
    image = photo(7, 9)
    np.testing.assert_array_equal(decode_image(file_of(image), channels=3), np.asarray(image))


def test_colour_is_made_before_the_size():
    """A palette has no pixels between its colours until it is colour."""
    palette = photo(30, 30).quantize(8)
    expected = np.asarray(palette.convert("RGB").resize((10, 10), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode_image(file_of(palette), channels=3, size=10), expected)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_number_of_channels_is_the_one_asked_for(mode, channels):
    image = photo(6, 8).convert(mode)
    pixels = decode_image(file_of(image, "TIFF"), channels=channels)
    assert (pixels.shape, pixels.dtype) == ((6, 8, channels), np.uint8)
    expected = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    np.testing.assert_array_equal(pixels, expected.reshape(6, 8, channels))


def test_palette_with_transparency_is_read_without_a_warning():
    encoded = file_of(photo(6, 8).quantize(4), transparency=b"\x00\xff\x80\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(encoded, channels=3).shape == (6, 8, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_the_camera_noted_before_they_are_scaled(kind, mode, orientation):
    encoded = file_of(photo(12, 20, mode), kind, exif=noted(orientation))
    with Image.open(io.BytesIO(encoded)) as image:
        assert upright_size(image) == ((12, 20) if orientation > 4 else (20, 12))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    np.testing.assert_array_equal(decode_image(encoded, channels=3), np.asarray(upright))
    tall = orientation > 4
    scaled = upright.resize((6, 10) if tall else (10, 6), Image.Resampling.BILINEAR)
    expected = np.asarray(scaled.crop((0, 2, 6, 8) if tall else (2, 0, 8, 6)))
    np.testing.assert_array_equal(decode_image(encoded, channels=3, size=6), expected)


def noted(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def test_a_note_after_the_pixels_counts():
    """Where PNG may have it."""
    image = photo(6, 8)
    early, plain = file_of(image, exif=noted(6)), file_of(image)
    begin = early.index(b"eXIf") - 4
    chunk = early[begin : begin + 12 + int.from_bytes(early[begin : begin + 4])]
    late = plain.replace(plain[-12:], chunk + plain[-12:])  # before IEND
    with Image.open(io.BytesIO(late)) as opened:
        assert upright_size(opened) == (6, 8)
    np.testing.assert_array_equal(decode_image(late, channels=3), decode_image(early, channels=3))
    np.testing.assert_array_equal(decode_image(late, channels=3), np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize("note", [b"Exif\0\0nonsense", b"", noted(0).tobytes(), noted(9).tobytes()])
def test_a_note_that_means_nothing_is_passed_over(note):
    image = photo(6, 8)
    encoded = file_of(image, exif=note)
    with Image.open(io.BytesIO(encoded)) as opened:
        assert upright_size(opened) == (8, 6)
    np.testing.assert_array_equal(decode_image(encoded, channels=3), np.asarray(image))
