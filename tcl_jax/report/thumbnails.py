"""Small pictures for pages, and sheets of many of them."""

import io
import math
from typing import NamedTuple

import numpy as np
from PIL import Image

_LARGEST_EXACT = 1_000_000  # bytes of pixels up to which a sheet keeps them exactly
_BLOCK = 8  # pixels a side that JPEG treats together


class Sprites(NamedTuple):
    """Equally large pictures on one sheet, row by row.

    Attributes:
      data: the bytes of a file.
      kind: of the file, png or jpeg.
      columns: pictures in a row of the sheet.
      width, height: of a picture, pixels.
      pitch: pixels from one picture to the next, in x and in y.
    """

    data: bytes
    kind: str
    columns: int
    width: int
    height: int
    pitch: tuple[int, int]


def thumbnail(image: np.ndarray, *, largest: int) -> Image.Image:
    """A uint8 [h, w, c] image of 1, 3 or 4 channels, reduced until its longer side has at most `largest` pixels.

    >>> thumbnail(np.zeros((100, 50, 1), np.uint8), largest=48).size
    (24, 48)
    """
    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    longer = max(picture.size)
    if longer <= largest:
        return picture
    size = [max(1, round(side * largest / longer)) for side in picture.size]
    return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=2.0)


def encoded(picture: Image.Image, kind: str) -> bytes:
    """The bytes of a file of this kind: png, which is exact, or jpeg, which is smaller and without transparency."""
    file = io.BytesIO()
    if kind == "jpeg":
        picture = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
        picture.save(file, "JPEG", quality=80, subsampling=0)
    else:
        picture.save(file, "PNG")
    return file.getvalue()


def sprites(images: np.ndarray, *, largest: int = 48) -> Sprites:
    """One sheet of all images, each reduced to at most `largest` pixels; few pixels stay exact, many become a JPEG.

    Args:
      images: uint8 [n, h, w, c], at least one.
    """
    pictures = [np.asarray(thumbnail(image, largest=largest)) for image in images]
    height, width, *channels = pictures[0].shape
    kind = "png" if sum(picture.size for picture in pictures) <= _LARGEST_EXACT else "jpeg"
    block = 1 if kind == "png" else _BLOCK  # so that no picture stains the next
    down, right = -height % block, -width % block
    columns = math.isqrt(len(pictures) - 1) + 1
    sheet = np.zeros(
        (-(-len(pictures) // columns) * (height + down), columns * (width + right), *channels), np.uint8
    )
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        filled = np.pad(picture, ((0, down), (0, right), *((0, 0) for _ in channels)), mode="edge")
        top, left = row * (height + down), column * (width + right)
        sheet[top : top + height + down, left : left + width + right] = filled
    data = encoded(Image.fromarray(sheet), kind)
    return Sprites(data, kind, columns, width, height, (width + right, height + down))
