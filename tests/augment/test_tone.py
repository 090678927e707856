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
def test_invert_and_equalize_are_pils(shape):
    batch = pil.images(shape)
    np.testing.assert_array_equal(ours(tone.invert, batch), pil.through_pil(ImageOps.invert, batch))
    np.testing.assert_array_equal(ours(tone.equalize, batch), pil.through_pil(ImageOps.equalize, batch))


def test_equalize_where_its_table_would_leave_eight_bits():
    batch = pil.images((16, 33, 1))  # 528 pixels: step 2, or 1 where the highest level has many
    batch[:100] = np.where(batch[:100] > 200, 255, batch[:100] // 2)
    np.testing.assert_array_equal(ours(tone.equalize, batch), pil.through_pil(ImageOps.equalize, batch))


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


@pytest.mark.parametrize("shape", pil.SHAPES)
def test_autocontrast_is_pils(shape):
    batch = pil.images(shape)
    results, expected = ours(tone.autocontrast, batch), pil.through_pil(ImageOps.autocontrast, batch)
    assert np.abs(results.astype(int) - expected).max() <= 1
    assert np.mean(results == expected) > 0.98  # PIL's float64 falls short of some whole numbers
    plain = np.all(batch == batch[:, :1, :1], axis=(1, 2, 3))
    assert plain.sum() >= 10
    np.testing.assert_array_equal(results[plain], batch[plain])
