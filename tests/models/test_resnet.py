"""The ResNet encoder: shapes, sizes, initial values, strides, padding, dtypes and running statistics."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax.typing import DTypeLike

from tcl_jax.models import ResNet
from tests.marks import slow

NARROW = ResNet(depth=18, stem="cifar", width=4)


def shapes_of(model: nn.Module, images: Any) -> Any:
    """Shapes and dtypes of the variables, computed without values."""
    return jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)


def image_shape(*shape: int, dtype: DTypeLike = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def calls(model: nn.Module, variables: Any, images: Any, *, train: bool) -> dict[str, tuple[Any, Any]]:
    """Input and output of every module, by its path: {"layer1_0/conv1": (x, y), ...}."""
    seen = {}

    def record(call, args, kwargs, context):
        result = call(*args, **kwargs)
        seen["/".join(context.module.path)] = (args[0], result)
        return result

    with nn.intercept_methods(record):
        model.apply(variables, images, train=train, mutable=["batch_stats"])
    return seen


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize(("depth", "features"), [(18, 40), (50, 160), *slow((34, 40), (101, 160))])
def test_features_have_eight_times_width_times_expansion_columns(
    depth: int, features: int, stem: str
) -> None:
    init = partial(ResNet(depth, stem, width=5).init_with_output, train=False)
    out, _ = jax.eval_shape(init, jax.random.key(0), image_shape(3, 48, 40, 3))
    assert (out.shape, out.dtype) == ((3, features), jnp.float32)


# torchvision's totals without the last linear layer (1000 x features + 1000): 11,689,512 - 513,000 and so on.
@pytest.mark.parametrize(
    ("depth", "expected"), [(18, 11_176_512), *slow((34, 21_284_672), (50, 23_508_032), (101, 42_500_160))]
)
def test_parameter_counts_are_those_of_torchvision(depth: int, expected: int) -> None:
    def count(stem: str) -> int:
        params = shapes_of(ResNet(depth, stem), image_shape(1, 32, 32, 3))["params"]
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    assert count("imagenet") == expected
    assert count("cifar") == expected - 64 * 3 * (7 * 7 - 3 * 3)


def test_modules_are_named_as_in_pytorch() -> None:
    params = shapes_of(ResNet(depth=50, width=4), image_shape(1, 8, 8, 3))["params"]
    blocks = [f"layer{stage}_{i}" for stage, size in enumerate((3, 4, 6, 3), start=1) for i in range(size)]
    assert sorted(params) == sorted(["conv1", "bn1", *blocks])
    layers = ["bn1", "bn2", "bn3", "conv1", "conv2", "conv3"]
    assert sorted(params["layer2_0"]) == [*layers, "shortcut_bn", "shortcut_conv"]
    assert sorted(params["layer2_1"]) == layers
    assert set(params["layer2_0"]["conv1"]) == {"kernel"}


def test_only_blocks_that_change_the_shape_have_a_shortcut_layer() -> None:
    def shortcuts(depth: int) -> set[str]:
        params = shapes_of(ResNet(depth, width=4), image_shape(1, 8, 8, 3))["params"]
        return {name for name, layers in params.items() if "shortcut_conv" in layers}

    assert shortcuts(18) == {"layer2_0", "layer3_0", "layer4_0"}
    assert shortcuts(50) == {"layer1_0", "layer2_0", "layer3_0", "layer4_0"}


def test_bottleneck_halves_the_image_in_its_3x3_convolution() -> None:
    model, images = ResNet(depth=50, width=4), image_shape(1, 32, 32, 3)
    seen = jax.eval_shape(partial(calls, model, train=False), shapes_of(model, images), images)
    sides = {name: output.shape[1] for name, (_, output) in seen.items() if output.ndim == 4}
    assert sides["layer1_2"] == 32
    assert (sides["layer2_0/conv1"], sides["layer2_0/conv2"], sides["layer2_0/shortcut_conv"]) == (32, 16, 16)
    assert (sides["layer3_0/conv1"], sides["layer3_0/conv2"]) == (16, 8)
    assert (sides["layer4_0/conv1"], sides["layer4_0/conv2"], sides["layer4_2"]) == (8, 4, 4)


def windows(x: np.ndarray, size: int, stride: int, padding: int, fill: float) -> np.ndarray:
    """Windows [b, h, w, c, size, size] of x, padded alike on all four sides."""
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(x, sides, constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]


def test_imagenet_stem_pads_alike_on_all_sides(fill) -> None:
    model, images = ResNet(depth=18, stem="imagenet", width=2), random_images(2, 32, 32, 3)
    variables = fill(model, images)
    found, _ = jax.jit(lambda v, x: calls(model, v, x, train=False)["layer1_0"])(variables, images)

    kernel = np.asarray(variables["params"]["conv1"]["kernel"])
    convolved = np.einsum("bhwcij,ijco->bhwo", windows(images, 7, 2, 3, 0.0), kernel)
    activated = np.maximum(convolved / np.sqrt(1 + 1e-5), 0)  # BatchNorm with its initial statistics
    expected = windows(activated, 3, 2, 1, -np.inf).max(axis=(-2, -1))
    assert expected.shape == (2, 8, 8, 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_strided_convolutions_pad_alike_on_all_sides(fill) -> None:
    images = random_images(2, 8, 8, 3)
    variables = fill(NARROW, images)
    x, y = jax.jit(lambda v, x: calls(NARROW, v, x, train=False)["layer2_0/conv1"])(variables, images)
    kernel = np.asarray(variables["params"]["layer2_0"]["conv1"]["kernel"])
    expected = np.einsum("bhwcij,ijco->bhwo", windows(np.asarray(x), 3, 2, 1, 0.0), kernel)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_convolutions_start_kaiming_normal_over_fan_out_and_batch_norms_as_identity() -> None:
    model, images = ResNet(depth=18, width=16), random_images(1, 8, 8, 3)
    key = jax.random.key(0, impl="rbg")  # compiles in a third of the time of the default
    params = flatten_dict(jax.jit(partial(model.init, train=False))(key, images)["params"])
    for path, value in params.items():
        if path[-1] == "kernel":
            height, width, _, outputs = value.shape
            normalised = np.asarray(value) / np.sqrt(2 / (height * width * outputs))
            # Five standard errors of a standard deviation and of a mean.
            assert abs(normalised.std() - 1) < 5 / np.sqrt(2 * value.size), path
            assert abs(normalised.mean()) < 5 / np.sqrt(value.size), path
        else:
            np.testing.assert_array_equal(value, 1.0 if path[-1] == "scale" else 0.0)
    largest = params[("layer4_1", "conv2", "kernel")]
    assert np.abs(largest).max() > 3.5 * largest.std()  # a truncated normal ends near 2.3


def test_running_statistics_change_in_training_only(fill) -> None:
    images = random_images(4, 8, 8, 3)
    variables = fill(NARROW, images)
    apply = jax.jit(partial(NARROW.apply, mutable=["batch_stats"]), static_argnames="train")
    features_eval, after_eval = apply(variables, images, train=False)
    features_train, after_train = apply(variables, images, train=True)

    chex.assert_trees_all_equal(after_eval["batch_stats"], variables["batch_stats"])
    old, new = flatten_dict(variables["batch_stats"]), flatten_dict(after_train["batch_stats"])
    assert all(np.any(old[path] != new[path]) for path in old)
    assert np.max(np.abs(features_eval - features_train)) > 1e-2


# XLA may skip the rounding of activations to bfloat16; statistics rounded to it would be off by 1e-3.
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 3e-4)])
def test_running_statistics_move_a_tenth_of_the_way_in_float32(dtype, tolerance, fill) -> None:
    model = ResNet(depth=18, width=4, dtype=dtype)
    images = random_images(8, 16, 16, 3) + 3.0
    variables = fill(model, images)

    @jax.jit
    def step(variables, images):
        _, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return calls(model, variables, images, train=True)["bn1"], updated["batch_stats"]["bn1"]

    (x, _), statistics = step(variables, images)
    assert x.dtype == dtype
    x = np.asarray(x, np.float64)
    np.testing.assert_allclose(statistics["mean"], 0.1 * x.mean(axis=(0, 1, 2)), rtol=tolerance)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * x.var(axis=(0, 1, 2)), rtol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "param_dtype", "features"),
    [
        (None, jnp.float32, jnp.float32),
        (jnp.bfloat16, jnp.float32, jnp.float32),
        (None, jnp.float64, jnp.float64),
    ],
)
def test_parameters_and_statistics_keep_their_dtype_through_a_training_step(
    dtype, param_dtype, features
) -> None:
    with jax.enable_x64(True):
        model, images = ResNet(18, width=4, dtype=dtype, param_dtype=param_dtype), image_shape(2, 8, 8, 3)
        variables = shapes_of(model, images)
        train = partial(model.apply, train=True, mutable=["batch_stats"])
        out, updated = jax.eval_shape(train, variables, images)
        assert {leaf.dtype for leaf in jax.tree.leaves((variables, updated))} == {jnp.dtype(param_dtype)}
        assert out.dtype == features


def equations(jaxpr: Any) -> Iterator[Any]:
    """Those of a program and of the functions that it calls."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in equation.params.values():
            if hasattr(inner, "jaxpr"):
                yield from equations(inner.jaxpr)


@pytest.mark.parametrize(
    ("dtype", "expected"), [(None, jax.lax.Precision.HIGHEST), (jnp.bfloat16, jax.lax.Precision.DEFAULT)]
)
def test_convolutions_state_their_precision_and_dtype(dtype, expected) -> None:
    model, images = ResNet(depth=50, width=4, dtype=dtype), image_shape(1, 8, 8, 3)
    jaxpr = jax.make_jaxpr(partial(model.apply, train=False))(shapes_of(model, images), images)
    convolutions = [eqn for eqn in equations(jaxpr.jaxpr) if eqn.primitive.name == "conv_general_dilated"]
    assert len(convolutions) == 1 + 3 * 16 + 4
    assert {eqn.params["precision"] for eqn in convolutions} == {(expected, expected)}
    assert {eqn.outvars[0].aval.dtype for eqn in convolutions} == {jnp.dtype(dtype or jnp.float32)}


def test_activations_between_blocks_stay_in_the_compute_dtype() -> None:
    model, images = ResNet(depth=18, width=4, dtype=jnp.bfloat16), image_shape(2, 8, 8, 3)
    seen = jax.eval_shape(partial(calls, model, train=True), shapes_of(model, images), images)
    blocks = {
        name: output.dtype for name, (_, output) in seen.items() if name.count("/") == 0 and "layer" in name
    }
    assert len(blocks) == 8
    assert set(blocks.values()) == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("model", "images", "message"),
    [
        (
            ResNet(depth=18),
            image_shape(1, 8, 8, 3, dtype=jnp.uint8),
            r"float images \[b, h, w, c\], got uint8",
        ),
        (ResNet(depth=18), image_shape(8, 8, 3), r"got float32 \[8, 8, 3\]"),
        (ResNet(depth=20), image_shape(1, 8, 8, 3), "depth among .18, 34, 50, 101, 152., got 20"),
        (ResNet(stem="tiny"), image_shape(1, 8, 8, 3), "stem among .*, got 'tiny'"),
    ],
)
def test_what_the_encoder_cannot_take_is_refused(model, images, message) -> None:
    with pytest.raises(ValueError, match=message):
        shapes_of(model, images)
