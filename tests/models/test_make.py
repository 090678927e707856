"""Models by name, and the sentences for what cannot be made."""

import contextlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tcl_jax.errors import UserError
from tcl_jax.models import ENCODERS, check_model, make_model, takes
from tcl_jax.models.layout import FLAX, layout_of

SMALL = {"stem": "cifar", "width": 4, "projection_dim": 16}


def test_every_name_makes_the_network_of_its_depth() -> None:
    names = [name for name in ENCODERS if name.startswith("resnet")]
    assert names == ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    for name in names:
        assert name == f"resnet{make_model(name, **SMALL).encoder.depth}"


def test_settings_reach_encoder_and_head() -> None:
    model = make_model(
        "resnet34",
        stem="imagenet",
        width=6,
        projection_dim=20,
        axis_name="data",
        dtype=jnp.bfloat16,
        param_dtype=jnp.float64,
    )
    encoder = model.encoder
    assert (encoder.depth, encoder.stem, encoder.width) == (34, "imagenet", 6)
    assert (encoder.axis_name, encoder.dtype, encoder.param_dtype) == ("data", jnp.bfloat16, jnp.float64)
    assert (model.head.projection_dim, model.head.param_dtype) == (20, jnp.float64)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "resnet20",
            {},
            r"^model.name is 'resnet20', expected one of resnet18, .*, convnext_tiny, or",
        ),
        (
            "resnet18",
            {"stem": "big"},
            r"^model.stem is 'big', expected one of cifar, imagenet\.$",
        ),
        ("resnet18", {"width": 0}, r"^model.width is 0, expected 1 or more\.$"),
        ("resnet18", {"projection_dim": -3}, r"^model.projection_dim is -3, expected 1 or more"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(name, settings, message) -> None:
    with pytest.raises(UserError, match=message):
        make_model(name, **(SMALL | settings))


@pytest.mark.parametrize(("stem", "smallest"), [("cifar", 8), ("imagenet", 32)])
def test_the_smallest_image_of_a_stem_ends_as_one_pixel(stem: str, smallest: int) -> None:
    model = make_model("resnet18", **(SMALL | {"stem": stem}))
    check_model(model, (smallest, smallest, 3))
    images = jax.ShapeDtypeStruct((2, smallest, smallest, 3), jnp.float32)
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    capture = partial(model.apply, train=False, capture_intermediates=True, mutable=["intermediates"])
    _, captured = jax.eval_shape(capture, variables, images)
    (last,) = captured["intermediates"]["encoder"]["layer4_1"]["__call__"]
    assert last.shape[1:3] == (1, 1)


@pytest.mark.parametrize(
    ("height", "width", "stem", "message"),
    [
        (7, 8, "cifar", "^The images have 7x8 pixels, too few .* at least 8x8: use larger images"),
        (
            64,
            31,
            "imagenet",
            "^The images have 64x31 pixels.* at least 32x32: set model.stem to .cifar., or use larger images",
        ),
    ],
)
def test_images_too_small_for_a_stem_are_refused(height, width, stem, message) -> None:
    with pytest.raises(UserError, match=message):
        check_model(make_model("resnet18", **(SMALL | {"stem": stem})), (height, width, 3))


class Plain(nn.Module):
    """Neither BatchNorm, nor dropout, nor train."""

    @nn.compact
    def __call__(self, images):
        return nn.Dense(7)(images.mean(axis=(1, 2)))


class WithAll(nn.Module):
    width: int = 3
    axis_name: str | None = None
    dtype: type | None = None
    depth: int = 2

    @nn.compact
    def __call__(self, images, train):
        x = nn.Dense(self.width, dtype=self.dtype)(images.mean(axis=(1, 2)))
        return nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name)(x)


def plain():
    return Plain()


def of_width(width):
    return WithAll(width=2 * width)


def not_a_module():
    return 3


class Pixels(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(4)(images)


class OfPatches(nn.Module):
    smallest_side = 16
    patch_side = 4
    layout = "of another meaning"

    @nn.compact
    def __call__(self, images):
        return nn.Conv(4, (4, 4), strides=4)(images).mean(axis=(1, 2))


class Remembering(nn.Module):
    @nn.compact
    def __call__(self, images):
        self.variable("cache", "seen", jnp.zeros, ())
        return nn.Dense(4)(images.mean(axis=(1, 2)))


an_instance = Plain()


@pytest.mark.parametrize("name", ["plain", "Plain", "an_instance"])
def test_a_module_a_class_and_a_function_are_encoders(name) -> None:
    model = make_model(f"{__name__}:{name}", **SMALL)
    assert model.encoder == Plain()
    check_model(model, (8, 8, 3))
    images = jnp.ones((2, 8, 8, 3))
    variables = model.init(jax.random.key(0), images, train=False)
    assert variables.keys() == {"params"}
    for train in (False, True):
        assert model.apply(variables, images, train=train, method="encode").shape == (2, 7)
    projections = model.apply(variables, images, train=True)
    np.testing.assert_allclose(np.linalg.norm(projections, axis=1), 1, rtol=1e-6)


def test_an_encoder_is_handed_the_settings_that_it_names() -> None:
    own = make_model(f"{__name__}:WithAll", **(SMALL | dict(width=5, axis_name="data", dtype=jnp.bfloat16)))
    assert own.encoder == WithAll(width=5, axis_name="data", dtype=jnp.bfloat16, depth=2)
    assert make_model(f"{__name__}:of_width", **(SMALL | {"width": 5})).encoder.width == 10
    assert takes(f"{__name__}:WithAll", "axis_name")
    assert takes("resnet50", "remat")
    assert not takes(f"{__name__}:plain", "dtype")
    assert not takes(f"{__name__}:an_instance", "width")


def test_an_encoder_of_the_users_own_says_which_images_it_takes() -> None:
    model = make_model(f"{__name__}:OfPatches", **SMALL)
    assert layout_of(model.encoder) is FLAX
    for height, width, refused in (
        (16, 20, None),
        (16, 12, "16x12 pixels, too few for OfPatches, which needs at least 16x16: use larger images"),
        (18, 20, "18x20 pixels, which are not whole patches of 4x4, those of OfPatches: set data.image_size"),
    ):
        with pytest.raises(UserError, match=refused) if refused else contextlib.nullcontext():
            check_model(model, (height, width, 3))


def test_features_are_float32_at_least() -> None:
    model = make_model(f"{__name__}:WithAll", **(SMALL | {"dtype": jnp.bfloat16}))
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    features = jax.eval_shape(partial(model.apply, train=False, method="encode"), variables, images)
    assert features.dtype == jnp.float32


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("not_a_module", {}, r"makes a int, expected a flax.linen.Module: return one, as in my_encoder.py"),
        (
            "plain",
            {"remat": True},
            r"model.remat is set, but the encoder .*:plain' of model.name takes no 'remat'",
        ),
        ("plain", {"dtype": jnp.bfloat16}, r"train.precision is set, but .* takes no 'dtype'"),
        ("Pixels", {}, r"array of shape \[2, 8, 8, 4\] of 2 images, expected features \[2, f\]"),
        (
            "Remembering",
            {},
            r"keeps variables in 'cache', expected 'params' and, for BatchNorm, 'batch_stats'",
        ),
    ],
)
def test_what_is_not_an_encoder_is_named(name, settings, message) -> None:
    with pytest.raises(UserError, match=message):
        check_model(make_model(f"{__name__}:{name}", **(SMALL | settings)), (8, 8, 3))
