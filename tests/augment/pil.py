"""PIL's operations as the reference, and images to compare with."""

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

SHAPES = [(32, 32, 3), (17, 23, 3), (17, 23, 1)]


def images(shape):
    """200 images: noise, smooth, pale and saturated ones, plain ones, some of two levels, some of mostly one level."""
    random = np.random.default_rng(0)
    batch = random.integers(0, 256, (200, *shape), np.uint8)
    h, w, _ = shape
    for number in range(20, 80):
        coarse = to_pil(batch[number, :4, :4])
        batch[number] = np.asarray(coarse.resize((w, h), Image.Resampling.BICUBIC)).reshape(shape)
    batch[40:60] = 120 + batch[40:60] // 10
    batch[60:80] = np.where(batch[60:80] > 127, 255, batch[60:80] // 4)
    batch[80:90] = np.linspace(0, 255, 10).astype(np.uint8)[:, None, None, None]
    for number in range(90, 100):
        levels = random.integers(0, 256, 2)
        batch[number] = levels[(random.random(shape) < number / 100 - 0.45).astype(int)]
    for number in range(100, 110):
        batch[number] = np.where(random.random(shape) < 0.1, batch[number], 77)
    return batch


def to_pil(image):
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def through_pil(function, batch, *arguments):
    """function(PIL image, one of each of the arguments) for every image of the batch: an array like the batch."""
    rows = zip(batch, *arguments, strict=True)
    return np.stack([np.asarray(function(to_pil(image), *row)).reshape(image.shape) for image, *row in rows])


def within_one(results, expected, share=0.99):
    """Asserts that so many pixels are at most one grey level from what is expected."""
    assert results.dtype == np.uint8
    assert results.shape == expected.shape
    assert np.mean(np.abs(np.asarray(results).astype(int) - expected) <= 1) >= share


def transform(image, coefficients):
    return image.transform(image.size, Image.Transform.AFFINE, tuple(coefficients), Image.Resampling.NEAREST)


def apply(image, name, magnitude):
    """One operation as torchvision's AutoAugment applies it to a PIL image, from its documentation and PIL alone."""
    if name == "ShearX":  # torchvision goes through an angle in degrees
        return transform(image, (1, math.tan(math.radians(math.degrees(math.atan(magnitude)))), 0, 0, 1, 0))
    if name == "ShearY":
        return transform(image, (1, 0, 0, math.tan(math.radians(math.degrees(math.atan(magnitude)))), 1, 0))
    if name == "TranslateX":
        return transform(image, (1, 0, -int(magnitude), 0, 1, 0))
    if name == "TranslateY":
        return transform(image, (1, 0, 0, 0, 1, -int(magnitude)))
    if name == "Rotate":
        return image.rotate(magnitude, Image.Resampling.NEAREST)
    enhancers = {
        "Brightness": ImageEnhance.Brightness,
        "Color": ImageEnhance.Color,
        "Contrast": ImageEnhance.Contrast,
        "Sharpness": ImageEnhance.Sharpness,
    }
    if name in enhancers:
        return enhancers[name](image).enhance(1 + magnitude)
    return {
        "Identity": lambda: image,
        "Posterize": lambda: ImageOps.posterize(image, int(magnitude)),
        "Solarize": lambda: ImageOps.solarize(image, magnitude),
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
    }[name]()
