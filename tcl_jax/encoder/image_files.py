"""Features of image files, which are read some at a time."""

import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from tcl_jax.data.decode import CHANNELS, decode_image, require_8_bits
from tcl_jax.data.lazy import threads
from tcl_jax.errors import UserError
from tcl_jax.files import full_path, readable

ImagePath = str | os.PathLike[str]


def in_batches(
    encode: Callable[[np.ndarray], np.ndarray],
    paths: Sequence[ImagePath],
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
) -> Iterator[np.ndarray]:
    """What `encode` makes of each `batch_size` images; no more than these are in memory.

    Raises:
      UserError: a file that cannot be read, or an encoder of images of other channels than files have.
    """
    if image_shape[-1] not in CHANNELS:
        raise UserError(
            f"The encoder takes images of {image_shape[-1]} channels, which image files do not have: give it arrays."
        )
    with tqdm(total=len(paths), desc="features", unit=" images", dynamic_ncols=True) as progress:
        for start in range(0, len(paths), batch_size):
            some = paths[start : start + batch_size]
            images = list(threads().map(lambda path: _read(path, image_shape), some))
            yield encode(np.stack(images))
            progress.update(len(some))


def _read(path: ImagePath, image_shape: tuple[int, int, int]) -> np.ndarray:
    height, width, channels = image_shape
    try:
        encoded = full_path(path, "The path of an image").read_bytes()
        require_8_bits(encoded)
        image = decode_image(encoded, channels=channels, size=height if height == width else 0)
    except Exception as error:  # Pillow's types for a damaged file are many
        cause = (isinstance(error, OSError) and error.strerror) or error
        raise UserError(
            f"The image {readable(path)} cannot be read ({cause}): replace it or leave it out."
        ) from error
    if image.shape != image_shape:  # data whose images are not square are never scaled
        raise UserError(
            f"The image {readable(path)} is {image.shape[0]}x{image.shape[1]}, expected {height}x{width}: the encoder "
            "was trained with images that are not square, which are neither scaled nor cut; make it of that size."
        )
    return image
