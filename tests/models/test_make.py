"""Models by name, and the sentences for what cannot be made."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from tcl_jax.errors import UserError
from tcl_jax.models import ENCODERS, make_model
from tcl_jax.models.make import check_image_size

SMALL = {"stem": "cifar", "width": 4, "projection_dim": 16}


def test_every_name_makes_the_network_of_its_depth() -> None:
    assert tuple(ENCODERS) == ("resnet18", "resnet34", "resnet50", "resnet101")
    for name in ENCODERS:
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
            r"^There is no 'resnet20' for model.name, expected one of resnet18, resnet34, resnet50, resnet101, or",
        ),
        (
            "resnet18",
            {"stem": "big"},
            r"^There is no stem 'big' for model.stem, expected one of cifar, imagenet\.$",
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
    check_image_size(smallest, smallest, stem=stem)
    model = make_model("resnet18", **(SMALL | {"stem": stem}))
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
        (32, 32, "big", "^There is no stem 'big'"),
    ],
)
def test_images_too_small_for_a_stem_are_refused(height, width, stem, message) -> None:
    with pytest.raises(UserError, match=message):
        check_image_size(height, width, stem=stem)
