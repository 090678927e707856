"""From the bytes of an image file to an array of the size that training takes."""

import contextlib
import io

import numpy as np
from PIL import ExifTags, Image, ImageOps

CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Other modes, such as those of 16 bits, would lose most of what they hold.
_CHANNELS_OF = {"1": 1, "L": 1, "LA": 1} | dict.fromkeys(
    ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"), 3
)


def decode_image(encoded: bytes, *, channels: int, size: int = 0) -> np.ndarray:
    """The pixels of one image file, made `channels` deep, and `size` pixels square if that is above 0.

    To be made square the image is scaled until its shorter side has `size` pixels, by PIL's bilinear filter, which
    averages where it makes smaller (antialias); what the longer side has too much is cut off evenly at both ends. Sizes
    are rounded as by torchvision's Resize and CenterCrop.

    Before, the image is turned upright where the camera noted how it was held (EXIF). Of several frames or pages the
    first counts. Grey becomes colour by three equal channels, and colour grey by the weights of ITU-R 601;
    transparency is left out.

    Args:
      encoded: a file that Pillow reads.
      channels: one of CHANNELS.
      size: pixels; 0 keeps the image's own size.

    Returns:
      uint8 [h, w, channels].

    Raises:
      Exception: what Pillow raises for a damaged file (OSError, SyntaxError, ValueError and others).

    >>> file = io.BytesIO()
    >>> Image.new("RGB", (640, 480)).save(file, "JPEG")
    >>> decode_image(file.getvalue(), channels=3, size=64).shape
    (64, 64, 3)
    """
    with Image.open(io.BytesIO(encoded)) as image:
        image.load()
        with contextlib.suppress(
            Exception
        ):  # what the camera noted is damaged itself: as if it were not there
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "P":  # a palette, perhaps with transparency: Pillow warns of any other way
            image = image.convert("RGBA")
        converted = image if image.mode == MODES[channels] else image.convert(MODES[channels])
        pixels = np.asarray(_square(converted, size) if size else converted)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def require_8_bits(encoded: bytes) -> None:
    """Refuse an image file whose pixels would lose most of what they hold, such as those of 16 bits.

    Raises:
      ValueError: its pixels have not 8 bits per channel.
      Exception: as of `decode_image`.
    """
    with Image.open(io.BytesIO(encoded)) as image:
        channels_of(image)


def channels_of(image: Image.Image) -> int:
    """1 for grey, 3 for colour and for a palette, of an opened image.

    Raises:
      ValueError: its pixels have not 8 bits per channel.
    """
    if image.mode not in _CHANNELS_OF:
        raise ValueError(f"its pixels are of Pillow's mode {image.mode}, expected 8 bits per channel")
    return _CHANNELS_OF[image.mode]


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height that an opened image has in `decode_image` for a size of 0."""
    width, height = image.size
    if (
        width == height or image.format == "TIFF"
    ):  # of TIFF, Pillow's size is that of the upright image already
        return width, height
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as in `decode_image`
        orientation = 1
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def _square(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    shorter = min(width, height)
    scaled = (size * width // shorter, size * height // shorter)
    if scaled != image.size:
        image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
    return image.crop((left, top, left + size, top + size))
