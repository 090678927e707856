"""The encoder's variables by the names and in the layout of torchvision's ResNet, there and back, without a loss.

A convolution's kernel [h, w, in, out] is torchvision's weight [out, in, h, w], the projection head's [in, out] is
PyTorch's [out, in]. BatchNorm's scale, bias, mean and var are weight, bias, running_mean and running_var; the
convolution and BatchNorm of a shortcut are downsample.0 and downsample.1. Both stems have the same names: that of
"cifar" differs from torchvision's by its 3x3 kernel in conv1, and by the max-pool that it lacks.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from tcl_jax.models.contrastive import ContrastiveModel

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_SHORTCUTS = {"shortcut_conv": "downsample.0", "shortcut_bn": "downsample.1"}
_COUNTER = (
    "num_batches_tracked"  # of each BatchNorm; it has a say only where PyTorch averages over all batches
)
# In a torchvision file, but no part of the encoder: the classifier, and the counters.
_IGNORED = re.compile(rf"fc\.(weight|bias)|.*\.{_COUNTER}")

_HEAD = {"linear1": "0", "linear2": "2"}  # as nn.Sequential(Linear, ReLU, Linear) counts


def encoder_tensors(variables: Mapping[str, Any], *, num_batches: int) -> dict[str, np.ndarray]:
    """The encoder as torchvision's state_dict has it, but for fc.weight and fc.bias.

    Args:
      variables: "params" and "batch_stats" of a `ResNet`, as arrays of any shapes.
      num_batches: what every num_batches_tracked says.
    """
    tensors = {}
    for path, leaf in _leaves(variables):
        name = torchvision_name(path)
        tensors[name] = _to_torch(np.asarray(leaf))
        if name.endswith(".running_var"):
            tensors[name.replace("running_var", _COUNTER)] = np.array(num_batches, np.int64)
    return tensors


def encoder_variables(tensors: Mapping[str, np.ndarray], template: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a `ResNet` from tensors without `mismatches`: "params" and "batch_stats", in numpy.

    Args:
      template: variables with the wanted structure, shapes and dtypes.
    """

    def value(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        return _from_torch(tensors[torchvision_name(_keys(path))]).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(value, dict(template))


def mismatches(tensors: Mapping[str, np.ndarray], template: Mapping[str, Any]) -> list[str]:
    """What keeps tensors from being the variables of `template`, each in a few words: shapes, then names.

    Convolutions come first, as their shapes tell most of what is another network.

    >>> template = {"params": {"conv1": {"kernel": np.zeros((3, 3, 1, 8))}}}
    >>> mismatches({"conv1.weight": np.zeros((8, 1, 7, 7)), "fc.bias": np.zeros(10)}, template)
    ['conv1.weight is [8, 1, 7, 7], expected [8, 1, 3, 3]']
    """
    shapes_of = {torchvision_name(path): _torch_shape(leaf.shape) for path, leaf in _leaves(template)}
    expected = dict(sorted(shapes_of.items(), key=lambda item: (len(item[1]) != 4, item[0])))
    both = expected.keys() & tensors.keys()
    order = [name for name in expected if name in both]
    shapes = [
        f"{name} is {list(tensors[name].shape)}, expected {list(expected[name])}"
        for name in order
        if tensors[name].shape != expected[name]
    ]
    kinds = [
        f"{name} is of {tensors[name].dtype}, expected float32"
        for name in order
        if not np.issubdtype(tensors[name].dtype, np.floating)
    ]
    missing = [f"{name} is missing" for name in expected if name not in both]
    unexpected = [
        f"{name} is not expected" for name in sorted(tensors.keys() - both) if not _IGNORED.fullmatch(name)
    ]
    return shapes + kinds + missing + unexpected


def in_brief(wrong: list[str]) -> str:
    """The first three of `mismatches`, and how many more there are.

    >>> in_brief(["a", "b", "c", "d", "e"])
    'a; b; c; and 2 more'
    """
    more = [f"and {len(wrong) - 3} more"] if len(wrong) > 3 else []
    return "; ".join(wrong[:3] + more)


def encoder_template(model: ContrastiveModel, *, channels: int) -> dict[str, Any]:
    """Structure, shapes and dtypes of the variables of the encoder for images of so many channels."""
    image = jax.ShapeDtypeStruct((1, 32, 32, channels), np.float32)  # of any size
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), image)
    return {kind: variables[kind]["encoder"] for kind in ("params", "batch_stats")}


def head_tensors(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The parameters of a `ProjectionHead` as those of nn.Sequential(Linear, ReLU, Linear)."""
    return {
        f"{number}.{_LEAVES[leaf]}": _to_torch(np.asarray(params[layer][leaf]))
        for layer, number in _HEAD.items()
        for leaf in ("kernel", "bias")
    }


def head_params(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The parameters of a `ProjectionHead`, in numpy, from `head_tensors`.

    Raises:
      KeyError: a tensor is missing.
    """
    return {
        layer: {leaf: _from_torch(tensors[f"{number}.{_LEAVES[leaf]}"]) for leaf in ("kernel", "bias")}
        for layer, number in _HEAD.items()
    }


def torchvision_name(path: tuple[str, ...]) -> str:
    """What torchvision calls a variable of `ResNet`.

    >>> torchvision_name(("layer2_0", "shortcut_bn", "mean"))
    'layer2.0.downsample.1.running_mean'
    """
    *modules, leaf = path
    named = [_SHORTCUTS.get(module, re.sub(r"^(layer\d)_", r"\1.", module)) for module in modules]
    return ".".join([*named, _LEAVES[leaf]])


def _leaves(variables: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    """The variables by their paths, of which the first part, "params" or "batch_stats", is left out."""
    found, _ = jax.tree_util.tree_flatten_with_path(dict(variables))
    return [(_keys(path), leaf) for path, leaf in found]


def _keys(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(entry.key for entry in path[1:])


def _to_torch(array: np.ndarray) -> np.ndarray:
    order = (3, 2, 0, 1) if array.ndim == 4 else range(array.ndim)[::-1]
    return np.ascontiguousarray(array.transpose(order))  # files hold nothing but this order


def _from_torch(array: np.ndarray) -> np.ndarray:
    order = (2, 3, 1, 0) if array.ndim == 4 else range(array.ndim)[::-1]
    return np.ascontiguousarray(array.transpose(order))


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape[::-1]
