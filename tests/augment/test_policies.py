"""Policies by name: the known ones as a training step uses them, and users' own."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from tcl_jax.augment import POLICIES, check_policy, make_policy, make_views
from tcl_jax.augment.autoaugment import CIFAR, IMAGENET, auto_augment, rand_augment
from tcl_jax.augment.crops import random_crop, random_flip, random_resized_crop
from tcl_jax.errors import UserError
from tests.marks import slow

NAMES = ["autoaug_cifar", "autoaug_imagenet", "randaug(2,9)"]
KEY = jax.random.key(5)
IMAGES = np.random.default_rng(0).integers(0, 256, (512, 12, 10, 3), np.uint8)
INDICES = np.arange(512, dtype=np.int32)


@functools.cache
def views(name):
    policy = make_policy(name, crop_padding=2, flip=True)
    return jax.jit(make_views([policy], mean=[0.0] * 3, std=[1.0] * 3))


FLIPS = dict(zip(NAMES, (True, True, False), strict=True))


@functools.cache
def of_64_keys(name):
    """The views of 64 images by as many keys."""
    policy = make_policy(name, crop_padding=3, flip=FLIPS[name])
    return np.asarray(jax.jit(jax.vmap(policy))(jax.random.split(KEY, 64), IMAGES[:64]))


# Their programs are the longest.
DEAR = [*slow(*NAMES[:2]), NAMES[2]]


@pytest.mark.parametrize("name", DEAR)
def test_a_view_is_the_same_in_any_batch_and_on_any_number_of_devices(name):
    together = np.asarray(views(name)(KEY, IMAGES, INDICES))
    assert np.mean(np.all(together == IMAGES / np.float32(255), axis=(1, 2, 3))) < 0.1
    some = np.array([0, 1, 300, 17, 18, 19, 20, 511])  # on each of eight devices one, alone
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    mapped = jax.shard_map(views(name), mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P("data"))
    np.testing.assert_array_equal(jax.jit(mapped)(KEY, IMAGES[some], INDICES[some]), together[some])


@pytest.mark.slow
def test_policies_can_be_mixed_view_by_view_and_differ():
    policies = [make_policy(name, crop_padding=2, flip=True) for name in (NAMES[2], "none", "crop_flip")]
    mixed = jax.jit(make_views(policies, mean=[0.0] * 3, std=[1.0] * 3))(KEY, IMAGES, INDICES)
    stacked = np.asarray(mixed).reshape(3, 512, 12, 10, 3)
    np.testing.assert_array_equal(stacked[0], views(NAMES[2])(KEY, IMAGES, INDICES))
    np.testing.assert_allclose(stacked[1], IMAGES / np.float32(255), rtol=1e-6)
    for first in range(3):
        for second in range(first):
            same = np.all(stacked[first] == stacked[second], axis=(1, 2, 3))
            assert same.mean() < 0.1


@pytest.mark.parametrize("name", DEAR)
def test_each_is_a_crop_a_mirror_image_and_its_operations(name):
    after = {
        "autoaug_cifar": functools.partial(auto_augment, sub_policies=CIFAR),
        "autoaug_imagenet": functools.partial(auto_augment, sub_policies=IMAGENET),
        "randaug(2,9)": functools.partial(rand_augment, count=2, magnitude=9),
    }

    def written_out(key, image):
        key, operations_key = jax.random.split(key)
        crop_key, flip_key = jax.random.split(key)
        if name == "autoaug_imagenet":
            image = random_resized_crop(crop_key, image, area=(0.08, 1.0))
        else:
            image = random_crop(crop_key, image, padding=3)
        return after[name](operations_key, random_flip(flip_key, image) if FLIPS[name] else image)

    expected = jax.jit(jax.vmap(written_out))(jax.random.split(KEY, 64), IMAGES[:64])
    np.testing.assert_array_equal(of_64_keys(name), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[1:])
def test_in_64_bit_mode_and_without_vmap_views_are_the_same(name):
    with jax.enable_x64(True):
        alone = jax.jit(make_policy(name, crop_padding=3, flip=FLIPS[name]))
        for key, image, view in zip(
            jax.random.split(KEY, 64)[:8], IMAGES[:8], of_64_keys(name)[:8], strict=True
        ):
            np.testing.assert_array_equal(alone(key, image), view)


@pytest.mark.parametrize("flip", [False, True])
def test_crop_flip_is_a_crop_and_a_mirror_image(flip):
    keys = jax.random.split(KEY, 64)
    views = jax.vmap(make_policy("crop_flip", crop_padding=2, flip=flip))(keys, IMAGES[:64])
    crop_keys, flip_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    expected = jax.vmap(functools.partial(random_crop, padding=2))(crop_keys, IMAGES[:64])
    expected = jax.vmap(random_flip)(flip_keys, expected) if flip else expected
    np.testing.assert_array_equal(views, expected)


def test_none_changes_nothing():
    policy = make_policy("none", crop_padding=4, flip=True)
    np.testing.assert_array_equal(policy(KEY, IMAGES[0]), IMAGES[0])


@pytest.mark.parametrize("name", NAMES)
def test_other_images_are_refused(name):
    policy = make_policy(name, crop_padding=2, flip=True)
    with pytest.raises(ValueError, match=r"expects a uint8 image \[h, w, .*\], got float32 \[4, 5, 3\]"):
        jax.eval_shape(policy, KEY, jnp.zeros((4, 5, 3), jnp.float32))
    with pytest.raises(ValueError, match=r"got uint8 \[4, 5, 2\]"):
        jax.eval_shape(policy, KEY, jnp.zeros((4, 5, 2), jnp.uint8))


@pytest.mark.parametrize(
    ("name", "crop_padding", "message"),
    [
        (
            "cropflip",
            4,
            r"augment.views is 'cropflip', expected one of none, crop_flip.*def policy\(key, image\)",
        ),
        ("crop_flip", -1, "crop_padding is -1"),
        ("autoaug", 4, r"'autoaug'.*autoaug_cifar, autoaug_imagenet, randaug\(n,m\)"),
        ("randaug", 4, r"'randaug', expected 'randaug\(n,m\)'"),
        ("randaug(n,m)", 4, r"'randaug\(n,m\)', expected 'randaug\(n,m\)' with whole numbers"),
        ("randaug(2)", 4, r"'randaug\(2\)', expected 'randaug\(n,m\)'"),
        ("randaug(2,-1)", 4, r"expected 'randaug\(n,m\)' with whole numbers"),
        ("randaug(0,9)", 4, "expected 1 operation or more"),
        ("randaug(2,31)", 4, "a magnitude of 0 to 30"),
        ("randaug:policy", 4, "augment.views is 'randaug:policy', but its module cannot be imported"),
        ("math:pi", 4, "augment.views names a float"),
        ("my_augment:plan", 4, "no 'plan': did you mean 'plain'"),
        ("my_augment:lacking", 4, "augment.views names a function that needs 'strength'"),
    ],
)
def test_bad_policies_are_named(own, name, crop_padding, message):
    with pytest.raises(UserError, match=message):
        make_policy(name, crop_padding=crop_padding, flip=False)


OWN = """
import jax.numpy as jnp

def plain(key, image):
    return 255 - image

def asks(key, image, *, flip, crop_padding):
    return image[::-1] + crop_padding if flip else image

def lacking(key, image, strength):
    return image

def floats(key, image):
    return image / 255

def smaller(key, image):
    return image[1:]

def pair(key, image):
    return image, key

def fails(key, image):
    return jnp.reshape(image, (7, 7))

def branches(key, image):
    return image if image.sum() > 0 else 255 - image
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own in the current folder."""
    (tmp_path / "my_augment.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path / "my_augment.py"
    sys.modules.pop("my_augment", None)


def test_a_policy_of_the_users_own_makes_the_views_and_is_given_what_it_asks_for(own):
    names = ("my_augment:plain", "my_augment:asks")
    policies = [make_policy(name, crop_padding=2, flip=True) for name in names]
    views = jax.jit(make_views(policies, mean=[0.0] * 3, std=[1.0] * 3))(KEY, IMAGES, INDICES)
    expected = np.concatenate([255 - IMAGES, IMAGES[:, ::-1] + np.uint8(2)])
    np.testing.assert_allclose(views, expected / np.float32(255), rtol=1e-6)
    for name, policy in zip(names, policies, strict=True):
        check_policy(policy, name, IMAGES.shape[1:])


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("my_augment:floats", (8, 8, 3), r"gives float32 \[8, 8, 3\] for uint8 images \[8, 8, 3\]"),
        ("my_augment:smaller", (8, 8, 3), r"gives uint8 \[7, 8, 3\] for"),
        ("my_augment:pair", (8, 8, 3), "gives a tuple for"),
        (
            "my_augment:fails",
            (8, 8, 3),
            r"fails for uint8 images \[8, 8, 3\] \(TypeError: .* in line 23 of .*my_augment.py\)",
        ),
        ("my_augment:branches", (8, 8, 3), "fails for .*TracerBoolConversionError.* in line 26 of"),
        ("simaug", (8, 8, 4), r"fails for uint8 images \[8, 8, 4\] .*\[h, w, 1 or 3\].*name another policy"),
        ("randaug(2,9)", (8, 8, 2), r"names 'randaug\(2,9\)', which fails for uint8 images \[8, 8, 2\]"),
    ],
)
def test_a_policy_that_does_not_fit_the_images_is_refused_in_one_sentence(own, name, shape, message):
    with pytest.raises(UserError, match=message) as caught:
        check_policy(make_policy(name, crop_padding=2, flip=True), name, shape)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*(name for name in POLICIES if "(" not in name), "randaug(2,9)"])
@pytest.mark.parametrize("channels", [1, 3])
def test_known_policies_fit_images_of_one_and_three_channels(name, channels):
    check_policy(make_policy(name, crop_padding=2, flip=True), name, (8, 6, channels))
