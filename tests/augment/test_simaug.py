"""The policy simaug as a whole."""

import jax
import numpy as np
import pytest

from tcl_jax.augment import make_policy

DRAWS = 2000
KEYS = jax.random.split(jax.random.key(0), DRAWS)
IMAGE = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)


def make(flip):
    policy = make_policy("simaug", crop_padding=4, flip=flip)
    return jax.jit(jax.vmap(policy, in_axes=(0, None)))


MIRRORED, PLAIN = make(True), make(False)


def share(flags, expected):
    assert abs(np.mean(flags) - expected) < 5 * np.sqrt(expected * (1 - expected) / len(flags))


def test_half_of_the_views_are_mirrored_and_none_without_flip():
    image = np.broadcast_to(
        np.arange(20, 200, 30, dtype=np.uint8)[:, None], (8, 6, 1)
    )  # brighter to the right
    mirrored, plain = np.asarray(MIRRORED(KEYS, image)), np.asarray(PLAIN(KEYS, image))
    assert np.all(plain[:, :, 1:] >= plain[:, :, :-1])
    same = np.all(mirrored == plain, axis=(1, 2, 3))
    turned = np.all(mirrored == plain[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(same | turned)
    share(same[same ^ turned], 0.5)


def test_one_view_in_five_is_grey():
    views = np.asarray(MIRRORED(KEYS, IMAGE))
    share(np.all(views == views[..., :1], axis=(1, 2, 3)), 0.2)


def test_views_of_an_image_of_one_channel_are_cropped_and_jittered():
    views = np.asarray(PLAIN(KEYS, np.full((8, 6, 1), 100, np.uint8)))
    assert views.shape == (DRAWS, 8, 6, 1)
    # A plain image shows brightness only, and a factor of 1 to 1.01, one of 80, leaves it at 100.
    share(np.all(views == 100, axis=(1, 2, 3)), 0.2 + 0.8 / 80)
    assert (views.min(), views.max()) == (60, 139)
    assert np.all(views == views[:, :1, :1])
    views = np.asarray(PLAIN(KEYS, IMAGE[..., :1]))
    assert np.mean(np.all(views == IMAGE[..., :1], axis=(1, 2, 3))) < 0.02


def test_a_view_depends_on_its_key_alone():
    views = np.asarray(MIRRORED(KEYS, IMAGE))
    np.testing.assert_array_equal(MIRRORED(KEYS, IMAGE), views)
    assert len({view.tobytes() for view in views}) > 0.8 * DRAWS  # the others lack jitter and share a window
    assert views.dtype == np.uint8


@pytest.mark.slow
def test_without_vmap_and_in_64_bit_mode_views_are_the_same():
    views = np.asarray(MIRRORED(KEYS[:50], IMAGE))
    with jax.enable_x64(True):
        alone = jax.jit(make_policy("simaug", crop_padding=0, flip=True))
        for key, view in zip(KEYS[:50], views, strict=True):
            np.testing.assert_array_equal(alone(key, IMAGE), view)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 4), np.uint8), r"uint8 \[4, 5, 4\]"),
        (np.zeros((4, 5), np.uint8), r"uint8 \[4, 5\]"),
        (np.zeros((4, 5, 3), np.float32), r"float32 \[4, 5, 3\]"),
    ],
)
def test_other_images_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        PLAIN(KEYS, image)
