"""The policies of AutoAugment and RandAugment as a training step uses them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from tcl_jax.augment import crop_flip, make_policy, make_views
from tcl_jax.augment.autoaugment import CIFAR, IMAGENET, auto_augment
from tcl_jax.augment.flip import random_flip
from tcl_jax.augment.randaugment import rand_augment
from tcl_jax.augment.resized_crop import random_resized_crop

NAMES = ["autoaug_cifar", "autoaug_imagenet", "randaug(2,9)"]
KEY = jax.random.key(5)
IMAGES = np.random.default_rng(0).integers(0, 256, (512, 12, 10, 3), np.uint8)
INDICES = np.arange(512, dtype=np.int32)


@functools.cache
def views(name):
    policy = make_policy(name, crop_padding=2, flip=True)
    return jax.jit(make_views([policy], mean=[0.0] * 3, std=[1.0] * 3))


@pytest.mark.parametrize("name", NAMES)
def test_a_view_is_the_same_in_any_batch_and_on_any_number_of_devices(name):
    together = np.asarray(views(name)(KEY, IMAGES, INDICES))
    assert np.mean(np.all(together == IMAGES / np.float32(255), axis=(1, 2, 3))) < 0.1
    for number in (0, 1, 300):
        alone = views(name)(KEY, IMAGES[number : number + 1], INDICES[number : number + 1])
        np.testing.assert_array_equal(alone[0], together[number])
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    mapped = jax.shard_map(views(name), mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P("data"))
    np.testing.assert_array_equal(jax.jit(mapped)(KEY, IMAGES, INDICES), together)


def test_policies_can_be_mixed_view_by_view_and_differ():
    policies = [make_policy(name, crop_padding=2, flip=True) for name in (*NAMES, "crop_flip")]
    mixed = jax.jit(make_views(policies, mean=[0.0] * 3, std=[1.0] * 3))(KEY, IMAGES, INDICES)
    stacked = np.asarray(mixed).reshape(4, 512, 12, 10, 3)
    np.testing.assert_array_equal(stacked[0], views(NAMES[0])(KEY, IMAGES, INDICES))
    for first in range(4):
        for second in range(first):
            same = np.all(stacked[first] == stacked[second], axis=(1, 2, 3))
            assert same.mean() < 0.1


@pytest.mark.parametrize(("name", "flip"), [(NAMES[0], True), (NAMES[1], True), (NAMES[2], False)])
def test_each_is_a_crop_a_mirror_image_and_its_operations(name, flip):
    first, second = jax.vmap(jax.random.split, out_axes=1)(jax.random.split(KEY, 64))
    crop = functools.partial(crop_flip, padding=3, flip=flip)
    if name == "autoaug_imagenet":

        def crop(key, image):
            crop_key, flip_key = jax.random.split(key)
            return random_flip(flip_key, random_resized_crop(crop_key, image, area=(0.08, 1.0)))

    after = {
        "autoaug_cifar": functools.partial(auto_augment, sub_policies=CIFAR),
        "autoaug_imagenet": functools.partial(auto_augment, sub_policies=IMAGENET),
        "randaug(2,9)": functools.partial(rand_augment, count=2, magnitude=9),
    }
    expected = jax.vmap(after[name])(second, jax.vmap(crop)(first, IMAGES[:64]))
    policy = make_policy(name, crop_padding=3, flip=flip)
    views = jax.jit(jax.vmap(policy))(jax.random.split(KEY, 64), IMAGES[:64])
    np.testing.assert_array_equal(views, expected)


@pytest.mark.parametrize("name", NAMES[1:])
def test_in_64_bit_mode_and_without_vmap_views_are_the_same(name):
    keys, policy = jax.random.split(KEY, 8), make_policy(name, crop_padding=2, flip=True)
    expected = np.asarray(jax.jit(jax.vmap(policy))(keys, IMAGES[:8]))
    with jax.enable_x64(True):
        alone = jax.jit(make_policy(name, crop_padding=2, flip=True))
        for key, image, view in zip(keys, IMAGES[:8], expected, strict=True):
            np.testing.assert_array_equal(alone(key, image), view)


@pytest.mark.parametrize("name", NAMES)
def test_other_images_are_refused(name):
    policy = make_policy(name, crop_padding=2, flip=True)
    with pytest.raises(ValueError, match=r"uint8 image \[h, w, 1 or 3\], got float32 \[4, 5, 3\]"):
        policy(KEY, jnp.zeros((4, 5, 3), jnp.float32))
    with pytest.raises(ValueError, match=r"got uint8 \[4, 5, 2\]"):
        policy(KEY, jnp.zeros((4, 5, 2), jnp.uint8))
