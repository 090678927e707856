"""Images made as large and as deep as those of another data set."""

import functools

import numpy as np
from PIL import Image, ImageOps

from tcl_jax.data.decode import MODES
from tcl_jax.data.lazy import LazyImages


def fit_images(images: np.ndarray | LazyImages, shape: tuple[int, ...]) -> np.ndarray | LazyImages:
    """Images of a shape (h, w, c), scaled by PIL's bilinear filter until they cover it, and cut evenly at both ends.

    Grey becomes colour by three equal channels, and colour grey by the weights of ITU-R 601; transparency is left out.

    Args:
      images: uint8 [n, h', w', c']; those on disk stay there.

    Returns:
      uint8 [n, h, w, c]; the same object where nothing is to be changed.

    Raises:
      ValueError: c or c' is not 1, 3 or 4, and the shapes differ.
    """
    if images.shape[1:] == tuple(shape):
        return images
    for channels in (images.shape[-1], shape[-1]):
        if channels not in MODES:
            raise ValueError(f"Images of {channels} channels cannot be scaled or converted.")
    fit = functools.partial(_fit, shape=tuple(shape))
    if isinstance(images, LazyImages):
        return images.mapped(fit, shape)
    return np.stack([fit(image) for image in images])


def _fit(image: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    height, width, channels = shape
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert(MODES[channels])
    pixels = np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR))
    return pixels.reshape(shape)
