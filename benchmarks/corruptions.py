"""Corruptions of small images, in five severities: those of CIFAR-10-C that need no further library.

Each takes images uint8 [n, h, w, c] with c of 1 or 3, a severity of 1 to 5 and a seed, and returns uint8 [n, h, w, c].
With x = pixel / 255 and the constants c of the severity; results are cut off to whole levels, as there.

References:
  Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019,
  arXiv 1903.12261; constants of make_cifar_c.py in github.com/hendrycks/robustness.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

Corruption = Callable[[np.ndarray, int, int], np.ndarray]


def gaussian_noise(images: np.ndarray, severity: int, seed: int) -> np.ndarray:
    """x + c e with e standard normal, drawn for each value."""
    deviation = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    noise = np.random.default_rng(seed).standard_normal(images.shape, np.float32)
    return _levels(images / np.float32(255) + deviation * noise)


def gaussian_blur(images: np.ndarray, severity: int, seed: int) -> np.ndarray:
    """The mean of neighbours, weighted by a Gaussian of c pixels, up to 4 c away; the border is repeated."""
    del seed
    sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1]
    return _levels(ndimage.gaussian_filter(images / np.float32(255), (0, sigma, sigma, 0), mode="nearest"))


def contrast(images: np.ndarray, severity: int, seed: int) -> np.ndarray:
    """m + c (x - m), where m is the mean of the image's channel."""
    del seed
    factor = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    x = images / np.float32(255)
    mean = x.mean(axis=(1, 2), keepdims=True)
    return _levels(mean + factor * (x - mean))


def brightness(images: np.ndarray, severity: int, seed: int) -> np.ndarray:
    """V of HSV becomes min(V + c, 1): x min(V + c, 1) / V, where V is the largest of the channels."""
    del seed
    more = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    x = images / np.float32(255)
    value = x.max(axis=3, keepdims=True)
    share = np.divide(x, value, out=np.ones_like(x), where=value > 0)  # black is grey, which has no hue
    return _levels(share * np.minimum(value + more, 1))


def pixelate(images: np.ndarray, severity: int, seed: int) -> np.ndarray:
    """Scaled to c of the sides and back, by means of boxes."""
    del seed
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    height, width = images.shape[1:3]
    small = int(width * share), int(height * share)
    return np.stack([_resized(_resized(image, small), (width, height)) for image in images])


CORRUPTIONS: dict[str, Corruption] = {
    "Gaussian noise": gaussian_noise,
    "Gaussian blur": gaussian_blur,
    "contrast": contrast,
    "brightness": brightness,
    "pixelate": pixelate,
}
SEVERITIES = (1, 2, 3, 4, 5)


def _levels(x: np.ndarray) -> np.ndarray:
    return (255 * np.clip(x, 0, 1)).astype(np.uint8)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [h, w, c] at (width, height)."""
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    return np.asarray(picture.resize(size, Image.Resampling.BOX)).reshape(size[1], size[0], image.shape[2])
