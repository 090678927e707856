"""The crop and flip policy against windows cut by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcl_jax.augment import crop_flip, make_policy
from tcl_jax.errors import UserError

IMAGE = np.random.default_rng(0).integers(1, 256, (5, 7, 3), np.uint8)
KEYS = jax.random.split(jax.random.key(0), 3000)


def views(padding, flip):
    one = jax.jit(lambda key: crop_flip(key, jnp.asarray(IMAGE), padding=padding, flip=flip))
    return np.asarray(jax.vmap(one)(KEYS))


def windows(padding):
    """Every window of the padded image, by offset."""
    padded = np.pad(IMAGE, ((padding, padding), (padding, padding), (0, 0)))
    h, w, _ = IMAGE.shape
    offsets = [(top, left) for top in range(2 * padding + 1) for left in range(2 * padding + 1)]
    return {offset: padded[offset[0] : offset[0] + h, offset[1] : offset[1] + w] for offset in offsets}


@pytest.mark.parametrize("flip", [False, True])
def test_every_view_is_a_window_and_all_are_equally_likely(flip):
    expected = {(o, False): w for o, w in windows(1).items()}
    if flip:
        expected |= {(o, True): w[:, ::-1] for o, w in windows(1).items()}
    names = {window.tobytes(): name for name, window in expected.items()}
    assert len(names) == len(expected)  # all windows differ, so that each view names its window
    found = [names[view.tobytes()] for view in views(1, flip)]
    share = np.array([found.count(name) for name in expected]) / len(KEYS)
    bound = 5 * np.sqrt(1 / len(expected) / len(KEYS))  # five standard deviations
    np.testing.assert_allclose(share, 1 / len(expected), atol=bound)


def test_without_padding_and_flip_nothing_changes():
    view = crop_flip(KEYS[0], jnp.asarray(IMAGE), padding=0, flip=False)
    np.testing.assert_array_equal(view, IMAGE)
    assert view.dtype == np.uint8


def test_policy_none_changes_nothing():
    policy = make_policy("none", crop_padding=4, flip=True)
    np.testing.assert_array_equal(policy(KEYS[0], jnp.asarray(IMAGE)), IMAGE)


@pytest.mark.parametrize(
    ("name", "crop_padding", "message"),
    [
        ("cropflip", 4, "'cropflip'.*none, crop_flip"),
        ("crop_flip", -1, "crop_padding is -1"),
        ("autoaug", 4, r"'autoaug'.*autoaug_cifar, autoaug_imagenet, randaug\(n,m\)"),
        ("randaug", 4, r"'randaug', expected 'randaug\(n,m\)'"),
        ("randaug(2)", 4, r"'randaug\(2\)', expected 'randaug\(n,m\)'"),
        ("randaug(2,-1)", 4, r"expected 'randaug\(n,m\)' with whole numbers"),
        ("randaug(0,9)", 4, "expected 1 operation or more"),
        ("randaug(2,31)", 4, "a magnitude of 0 to 30"),
    ],
)
def test_bad_policies_are_named(name, crop_padding, message):
    with pytest.raises(UserError, match=message):
        make_policy(name, crop_padding=crop_padding, flip=False)
