"""Operations on grey levels against PIL's ImageOps."""

import jax
import numpy as np
import pytest
from PIL import ImageOps

from tcl_jax.augment import tone
from tests.augment import pil


def ours(function, *arguments):
    return np.asarray(jax.jit(jax.vmap(function))(*arguments))


@pytest.mark.parametrize("shape", pil.SHAPES)
def test_solarize_and_posterize_are_pils(shape):
    batch = pil.images(shape)
    thresholds = np.resize(np.arange(257), 200 * 2)[57:257]
    thresholds[:2] = 0, 1
    results = ours(tone.solarize, batch, thresholds)
    np.testing.assert_array_equal(results, pil.through_pil(ImageOps.solarize, batch, thresholds.tolist()))
    bits = np.resize(np.arange(1, 9), 200)
    results = ours(tone.posterize, batch, bits)
    np.testing.assert_array_equal(results, pil.through_pil(ImageOps.posterize, batch, bits.tolist()))
