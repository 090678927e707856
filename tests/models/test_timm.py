"""ViT and ConvNeXt against features, gradients, names and resized positions recorded by tests/golden/record_timm.py."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tcl_jax.errors import UserError
from tcl_jax.models import ConvNeXt, ViT, check_model, make_model, model_shapes
from tcl_jax.models.contrastive import ContrastiveModel
from tcl_jax.models.dropout import dropout_by_row, row_keys
from tcl_jax.models.heads import ProjectionHead
from tcl_jax.models.initial_encoder import InitialEncoder, fit_encoder
from tcl_jax.models.layout import encoder_tensors, encoder_variables, layout_of, mismatches, of_encoder
from tcl_jax.models.timm import TIMM
from tests.golden.record_timm import GRIDS, IMAGES, POSITIONS, SIDE, drawn_weights, projected
from tests.marks import slow

RECORDED = np.load(Path(__file__).parents[1] / "golden" / "timm_features.npz")
NAMES = json.loads(str(RECORDED["names"]))
SMALLER = ("vit_tiny_patch16_224", "convnext_atto", "wide_resnet50_2")
ENCODERS = {
    "vit": ViT(depth=2, heads=3, width=4, stem="imagenet"),
    "vit_gap": ViT(depth=2, heads=3, width=4, stem="imagenet", class_token=False),
    "vit_patch4": ViT(depth=2, heads=3, width=4),
    "convnext": ConvNeXt((1, 2, 1, 1), 6, stem="imagenet"),
    "convnext_conv_mlp": ConvNeXt((2, 1, 2, 1), 5, True, stem="imagenet"),
}
SMALL = {
    "vit": ViT(depth=2, heads=2, width=3, dropout=0.2, drop_path=0.5),
    "convnext": ConvNeXt((1, 1), 4, dropout=0.2, drop_path=0.5),
}


def weights_of(name):
    return drawn_weights(json.loads(str(RECORDED[f"{name}/shapes"])))


def fitted(tensors, model, shape=(SIDE, SIDE, 3)):
    return fit_encoder(InitialEncoder("file", tensors, None), model, shape)


def loaded(name, encoder):
    model = ContrastiveModel(encoder, ProjectionHead(4))
    return fitted(weights_of(name), model)


@pytest.mark.parametrize("name", ["vit", "convnext", *slow("vit_gap", "vit_patch4", "convnext_conv_mlp")])
def test_features_and_gradients_are_those_of_timm(name):
    with jax.enable_x64(True):
        encoder = ENCODERS[name].clone(param_dtype=jnp.float64)
        variables = jax.tree.map(lambda x: x.astype(np.float64), loaded(name, encoder))

        def squares(variables, images):
            features = encoder.apply(variables, images, train=False)
            return jnp.sum(features**2), features

        gradients = jax.jit(jax.grad(squares, argnums=(0, 1), has_aux=True))
        (by_variables, by_images), features = gradients(variables, IMAGES.astype(np.float64))
    np.testing.assert_allclose(features, RECORDED[f"{name}/features"], rtol=1e-9, atol=1e-9)
    found = projected(encoder_tensors(by_variables, TIMM, num_batches=0) | {"images": np.asarray(by_images)})
    expected = RECORDED[f"{name}/gradients"]
    assert np.max(np.abs(found - expected) / np.abs(expected).max(axis=1, keepdims=True)) < 1e-9


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_features_in_float32_are_those_of_timm_to_1e_5(name):
    encoder = ENCODERS[name]
    found = jax.jit(functools.partial(encoder.apply, train=False))(loaded(name, encoder), IMAGES)
    expected = RECORDED[f"{name}/features"]
    assert np.max(np.abs(found - expected)) < 1e-5 * np.max(np.abs(expected))


@pytest.mark.parametrize("name", [*SMALLER, *slow(*(name for name in NAMES if name not in SMALLER))])
def test_the_published_sizes_have_the_names_and_shapes_of_timm_and_torchvision(name):
    short = name.removesuffix("_patch16_224")
    model = make_model(short, stem="imagenet", width=64, projection_dim=8)
    tensors = {key: np.broadcast_to(np.float32(0), shape) for key, shape in NAMES[name].items()}
    template = of_encoder(model_shapes(model, (224, 224, 3)))
    assert mismatches(tensors, template, layout_of(model.encoder)) == []


@pytest.mark.parametrize("name", ENCODERS)
def test_there_and_back_is_the_same_to_the_last_bit(name):
    variables = loaded(name, ENCODERS[name])
    tensors = encoder_tensors(variables, TIMM, num_batches=3)
    assert tensors.keys() == weights_of(name).keys()
    for key, weight in weights_of(name).items():
        np.testing.assert_array_equal(tensors[key], weight)
    jax.tree.map(np.testing.assert_array_equal, encoder_variables(tensors, variables, TIMM), variables)


@pytest.mark.parametrize("grid", GRIDS)
def test_positions_are_resized_to_the_images_as_by_timm(grid):
    model = ContrastiveModel(ViT(depth=1, heads=2, width=3), ProjectionHead(4))
    shape = (4 * grid[0], 4 * grid[1], 3)
    template = of_encoder(model_shapes(model, shape))
    tensors = encoder_tensors(
        jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template), TIMM, num_batches=0
    )
    variables = fitted(tensors | {"pos_embed": POSITIONS}, model, shape)
    found = variables["params"]["pos_embed"]
    np.testing.assert_allclose(found, RECORDED[f"resized/{grid[0]}x{grid[1]}"], atol=1e-5)


def test_positions_of_the_same_grid_stay_and_those_that_are_not_square_are_named():
    model = ContrastiveModel(ENCODERS["vit_patch4"], ProjectionHead(4))
    weights = weights_of("vit_patch4")
    kept = fitted(weights, model)["params"]["pos_embed"]
    np.testing.assert_array_equal(kept, weights["pos_embed"])
    for wrong in (weights["pos_embed"][:, :-1], weights["pos_embed"][0], weights["pos_embed"][:, :1]):
        with pytest.raises(UserError, match=r"does not fit .*pos_embed is \["):
            fitted(weights | {"pos_embed": wrong}, model)


def drawn(encoder):
    """Variables in which every branch counts, eight images of 8 x 8 pixels, and a key for each."""
    rng = np.random.default_rng(3)
    images = rng.normal(size=(8, 8, 8, 3)).astype(np.float32)
    shapes = jax.eval_shape(functools.partial(encoder.init, train=False), jax.random.key(0), images)
    variables = jax.tree.map(lambda x: (0.3 * rng.normal(size=x.shape)).astype(np.float32), shapes)
    return variables, images, row_keys(jax.random.key(4), jnp.arange(8), 1)


@functools.partial(jax.jit, static_argnums=0, static_argnames="train")
def features_of(encoder, variables, images, keys, *, train):
    with dropout_by_row(keys):
        return encoder.apply(variables, images, train=train, rngs={"dropout": jax.random.key(9)})


@functools.partial(jax.jit, static_argnums=0)
def gradient_of(encoder, variables, images, keys):
    """Of the sum of the squared features, which come second."""

    def squares(variables):
        features = features_of(encoder, variables, images, keys, train=True)
        return jnp.sum(features**2), features

    return jax.grad(squares, has_aux=True)(variables)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_what_is_dropped_follows_from_the_row_with_remat_and_without(name):
    encoder = SMALL[name]
    variables, images, keys = drawn(encoder)
    gradient, whole = gradient_of(encoder, variables, images, keys)
    part = features_of(encoder, variables, images[2:4], keys[2:4], train=True)
    np.testing.assert_allclose(part, whole[2:4], rtol=1e-4, atol=1e-5)
    again, same = gradient_of(encoder.clone(remat=True), variables, images, keys)
    np.testing.assert_allclose(same, whole, rtol=1e-5, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max()), again, gradient
    )
    for off in (encoder.clone(dropout=0.0), encoder.clone(drop_path=0.0)):
        found = features_of(off, variables, images, keys, train=True)
        assert not np.allclose(found, whole, rtol=1e-3)
    evaluated = features_of(encoder, variables, images, keys, train=False)
    plain = encoder.clone(dropout=0.0, drop_path=0.0)
    expected = features_of(plain, variables, images, keys, train=True)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["convnext", *slow("vit")])
def test_in_bfloat16_features_are_float32_and_near(name):
    encoder = SMALL[name]
    variables, images, keys = drawn(encoder)
    narrow = features_of(encoder.clone(dtype=jnp.bfloat16), variables, images, keys, train=False)
    assert narrow.dtype == jnp.float32
    expected = np.asarray(features_of(encoder, variables, images, keys, train=False))
    assert 0 < np.max(np.abs(narrow - expected)) < 0.1 * np.max(np.abs(expected))


class Branch(nn.Module):
    @nn.compact
    def __call__(self, x):
        from tcl_jax.models.layers import Layers

        return Layers(True, 0.0, jnp.float32, jnp.float32).drop_path(x, 0.25)


@pytest.mark.slow
def test_stochastic_depth_leaves_out_whole_rows():
    x = jnp.ones((4000, 3, 2))
    with dropout_by_row(row_keys(jax.random.key(0), jnp.arange(4000), 1)):
        kept = Branch().apply({}, x, rngs={"dropout": jax.random.key(1)})
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.75)}
    rows = np.asarray(kept).reshape(4000, -1)
    assert np.ptp(rows, axis=1).max() == 0
    assert np.mean(rows[:, 0] == 0) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        ("vit_tiny", {"stem": "cifar"}, (30, 32, 3), "30x32 pixels, which are not whole patches of 4x4"),
        ("vit_tiny_gap", {"stem": "imagenet"}, (224, 225, 3), "not whole patches of 16x16"),
        ("convnext_atto", {"stem": "imagenet"}, (31, 32, 3), "31x32 pixels, too few"),
        ("convnext_atto", {"stem": "cifar"}, (8, 7, 3), "8x7 pixels, too few"),
        ("resnet18", {"dropout": 0.1}, (8, 8, 3), "model.dropout is set, but .*takes no 'dropout'"),
        ("resnet18", {"drop_path": 0.1}, (8, 8, 3), "model.drop_path is set, but .*takes no 'drop_path'"),
    ],
)
def test_what_does_not_fit_is_named(name, options, shape, message):
    with pytest.raises(UserError, match=message):
        check_model(make_model(name, **({"stem": "cifar", "width": 4, "projection_dim": 4} | options)), shape)
