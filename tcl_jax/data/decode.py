"""From the bytes of an image file to an array of the size that training takes."""

import io

import numpy as np
from PIL import Image

CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def decode_image(encoded: bytes, *, channels: int, size: int = 0) -> np.ndarray:
    """The pixels of one image file, made `channels` deep, and `size` pixels square if that is above 0.

    To be made square the image is scaled until its shorter side has `size` pixels, by PIL's bilinear filter, which
    averages where it makes smaller (antialias); what the longer side has too much is cut off evenly at both ends. Sizes
    are rounded as by torchvision's Resize and CenterCrop.

    Grey becomes colour by three equal channels, and colour grey by the weights of ITU-R 601; transparency is left out
    and the orientation that a camera noted is not applied, as torchvision's ImageFolder has it.

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
        if image.mode == "P":  # a palette, perhaps with transparency: Pillow warns of any other way
            image = image.convert("RGBA")
        converted = image if image.mode == _MODES[channels] else image.convert(_MODES[channels])
        pixels = np.asarray(_square(converted, size) if size else converted)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def _square(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    shorter = min(width, height)
    scaled = (size * width // shorter, size * height // shorter)
    if scaled != image.size:
        image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
    return image.crop((left, top, left + size, top + size))
