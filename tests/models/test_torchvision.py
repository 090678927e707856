"""The encoder's variables by torchvision's names, against facts recorded from torchvision 0.28 (PyTorch 2.13, float64).

tests/golden/torchvision_names.json holds the shapes of every state_dict() by name. torchvision_features.npz holds, for
resnet18 and resnet50 filled by load_state_dict with `drawn_weights` of those shapes, `fc` replaced by Identity, in
eval() and double(), the output for `IMAGES / 255` normalised by MEAN and STD, axes in PyTorch's order.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import save_file

from tcl_jax.augment import normalize
from tcl_jax.models import ProjectionHead, make_model, model_shapes
from tcl_jax.models.initial_encoder import InitialEncoder, fit_encoder
from tcl_jax.models.layout import FLAX, encoder_tensors, encoder_variables, mismatches, of_encoder
from tcl_jax.models.tensor_file import read_tensors
from tcl_jax.models.torchvision import TORCHVISION, head_params, head_tensors
from tests.marks import slow

GOLDEN = Path(__file__).parents[1] / "golden"
SHAPES = json.loads((GOLDEN / "torchvision_names.json").read_text())
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGES = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


def drawn_weights(shapes):
    """By name: what the recorded networks were filled with, drawn in the order of the sorted names."""
    rng, weights = np.random.default_rng(0), {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        if name.endswith("num_batches_tracked"):
            weights[name] = np.array(0)
        elif len(shape) == 4:
            weights[name] = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            weights[name] = rng.uniform(0.5, 1.5, shape)
        else:
            weights[name] = 0.1 * rng.normal(size=shape)
    return {
        name: value.astype(np.float32) if value.dtype.kind == "f" else value
        for name, value in weights.items()
    }


def template_of(name="resnet18", *, stem="imagenet", width=64, channels=3):
    model = make_model(name, stem=stem, width=width, projection_dim=8)
    return of_encoder(model_shapes(model, (32, 32, channels)))


def filled(template):
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), template)


@pytest.mark.parametrize("name", ["resnet50", *slow("resnet18", "resnet34", "resnet101")])
def test_names_and_shapes_are_those_of_torchvision(name):
    torchvision = {
        key: np.broadcast_to(np.float32(0), shape) if shape else np.array(0)
        for key, shape in SHAPES[name].items()
    }
    assert mismatches(torchvision, template_of(name), TORCHVISION) == []
    ours = encoder_tensors(filled(template_of(name, width=2)), TORCHVISION, num_batches=7)
    assert ours.keys() == torchvision.keys() - {"fc.weight", "fc.bias"}
    for key, array in ours.items():
        assert array.flags.c_contiguous  # safetensors writes memory as it lies
        assert array.dtype == torchvision[key].dtype
        if key.endswith("num_batches_tracked"):
            assert array == 7
        else:  # 64 channels there are 2 here
            wide = [side * 32 for side in array.shape[:2]] + list(array.shape[2:])
            expected = SHAPES[name][key]
            assert wide[0] == expected[0]
            assert key == "conv1.weight" or wide == expected


@pytest.mark.parametrize("name", ["resnet18", *slow("resnet50")])
def test_features_are_those_of_torchvision(name, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(drawn_weights(SHAPES[name]), path)
    model = make_model(name, stem="imagenet", width=64, projection_dim=8)
    tensors = read_tensors(epath.Path(path)).tensors
    variables = fit_encoder(InitialEncoder(str(path), tensors, None), model, (64, 64, 3))
    encoder = model.encoder

    @jax.jit
    def features(variables, images):
        return encoder.apply(variables, normalize(images, mean=MEAN, std=STD), train=False)

    expected = np.load(GOLDEN / "torchvision_features.npz")[name]
    found = features(variables, IMAGES)
    assert np.max(np.abs(found - expected)) < 1e-4 * np.max(np.abs(expected))


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_there_and_back_is_the_same_to_the_last_bit(stem):
    template = template_of("resnet50", stem=stem, width=2)
    variables = filled(template)
    tensors = encoder_tensors(variables, TORCHVISION, num_batches=3)
    assert mismatches(tensors, template, TORCHVISION) == []
    jax.tree.map(np.testing.assert_array_equal, encoder_variables(tensors, template, TORCHVISION), variables)


def test_a_kernel_has_outputs_and_inputs_first():
    variables = filled(template_of(width=3))
    tensors = encoder_tensors(variables, TORCHVISION, num_batches=0)
    kernel = variables["params"]["layer2_0"]["conv1"]["kernel"]  # 3 x 3, 3 channels to 6
    weight = tensors["layer2.0.conv1.weight"]
    assert weight.shape == (6, 3, 3, 3)
    assert weight[4, 1, 0, 2] == kernel[0, 2, 1, 4]


def test_the_head_is_two_linear_layers_of_pytorch():
    head, rng = ProjectionHead(4), np.random.default_rng(0)
    x = rng.normal(size=(3, 6)).astype(np.float32)
    template = jax.eval_shape(head.init, jax.random.key(0), x)["params"]
    tensors = head_tensors(filled(template))
    assert {name: array.shape for name, array in tensors.items()} == {
        "0.weight": (6, 6),
        "0.bias": (6,),
        "2.weight": (4, 6),
        "2.bias": (4,),
    }
    hidden = np.maximum(x @ tensors["0.weight"].T + tensors["0.bias"], 0)
    rows = hidden @ tensors["2.weight"].T + tensors["2.bias"]
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(head.apply({"params": head_params(tensors)}, x), expected, rtol=1e-4)


def test_every_mismatch_is_named_convolutions_first():
    template = template_of(width=2)
    tensors = encoder_tensors(filled(template), TORCHVISION, num_batches=0)
    del tensors["bn1.running_var"]
    tensors["layer9.conv1.weight"] = np.zeros(3)
    tensors["bn1.bias"] = np.zeros(3, np.float32)
    tensors["conv1.weight"] = np.zeros((2, 3, 3, 3), np.float32)
    tensors["bn1.weight"] = np.zeros(2, np.int32)
    assert mismatches(tensors, template, TORCHVISION) == [
        "conv1.weight is [2, 3, 3, 3], expected [2, 3, 7, 7]",
        "bn1.bias is [3], expected [2]",
        "bn1.weight is of int32, expected float32",
        "bn1.running_var is missing",
        "layer9.conv1.weight is not expected",
    ]


def test_variables_of_any_encoder_have_the_names_of_flax_there_and_back():
    variables = filled(template_of(width=2))
    tensors = encoder_tensors(variables, FLAX, num_batches=3)
    assert "params/layer2_0/conv1/kernel" in tensors
    assert len(tensors) == len(jax.tree.leaves(variables))  # no counters
    assert mismatches(tensors, variables, FLAX) == []
    jax.tree.map(np.testing.assert_array_equal, encoder_variables(tensors, variables, FLAX), variables)
    del tensors["params/bn1/scale"]
    assert mismatches(tensors, variables, FLAX) == ["params/bn1/scale is missing"]
