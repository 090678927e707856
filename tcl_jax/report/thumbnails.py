"""Small pictures for pages, and sheets of many of them."""

import io
import math
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

_LARGEST_EXACT = 1_000_000  # bytes of pixels up to which a sheet keeps them exactly
_AT_A_TIME = 256  # images that are read before they are made small
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


def picture_of(image: np.ndarray) -> Image.Image:
    """A uint8 [h, w, c] image as a picture: grey, of colours, or of colours and transparency.

    Of 2 channels it shows the first, of 5 and more the first three; `channels_left_out` says so.
    """
    channels = image.shape[-1]
    shown = image if channels in (1, 3, 4) else image[..., : 1 if channels == 2 else 3]
    return Image.fromarray(np.ascontiguousarray(shown.squeeze(-1) if shown.shape[-1] == 1 else shown))


def channels_left_out(channels: int) -> str:
    """A sentence on the channels of images that pictures do not show; "" where they show all.

    >>> channels_left_out(5), channels_left_out(3)
    ('Of the 5 channels the first 3 are shown.', '')
    """
    if channels in (1, 3, 4):
        return ""
    return f"Of the {channels} channels the first {'is' if channels == 2 else '3 are'} shown."


def thumbnail(image: np.ndarray, *, largest: int) -> Image.Image:
    """A uint8 [h, w, c] image as a picture, reduced until its longer side has at most `largest` pixels.

    >>> thumbnail(np.zeros((100, 50, 1), np.uint8), largest=48).size
    (24, 48)
    """
    picture = picture_of(image)
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


def thumbnails(images: Any, positions: np.ndarray, *, largest: int = 48) -> np.ndarray:
    """Some of many images as thumbnails: uint8 [m, h', w', c], h' and w' at most `largest`.

    Args:
      images: uint8 [n, h, w, c], or what gives those at an array of positions; few are taken at a time.
      positions: [m], at least one.
    """
    small = [
        np.asarray(thumbnail(image, largest=largest))
        for start in range(0, len(positions), _AT_A_TIME)
        for image in np.asarray(images[positions[start : start + _AT_A_TIME]])
    ]
    stacked = np.stack(small)
    return stacked if stacked.ndim == 4 else stacked[..., None]


def sprites(pictures: np.ndarray) -> Sprites:
    """One sheet of all pictures; few pixels stay exact, many become a JPEG.

    Args:
      pictures: uint8 [n, h, w, c], at least one.
    """
    count, height, width, channels = pictures.shape
    kind = "png" if pictures.size <= _LARGEST_EXACT else "jpeg"
    block = 1 if kind == "png" else _BLOCK  # so that no picture stains the next
    padding = ((0, 0), (0, -height % block), (0, -width % block), (0, 0))
    padded = np.pad(pictures, padding, mode="edge")
    columns = math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    filled = np.zeros((rows * columns, *padded.shape[1:]), np.uint8)
    filled[:count] = padded
    high, wide = padded.shape[1:3]
    grid = filled.reshape(rows, columns, high, wide, channels).swapaxes(1, 2)
    sheet = grid.reshape(rows * high, columns * wide, channels)
    data = encoded(picture_of(sheet), kind)
    return Sprites(data, kind, columns, width, height, (wide, high))
