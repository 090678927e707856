"""The layout of torchvision's ResNet, for files that PyTorch loads.

A convolution's kernel [h, w, in, out] is torchvision's weight [out, in, h, w], the projection head's [in, out] is
PyTorch's [out, in]. BatchNorm's scale, bias, mean and var are weight, bias, running_mean and running_var; the
convolution and BatchNorm of a shortcut are downsample.0 and downsample.1. Both stems have the same names: that of
"cifar" differs from torchvision's by its 3x3 kernel in conv1, and by the max-pool that it lacks.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tcl_jax.models.layout import Layout, Path, from_torch, to_torch, torch_shape

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_SHORTCUTS = {"shortcut_conv": "downsample.0", "shortcut_bn": "downsample.1"}
_COUNTER = "num_batches_tracked"  # of each BatchNorm; it counts only where PyTorch averages over all batches
_HEAD = {"linear1": "0", "linear2": "2"}  # as nn.Sequential(Linear, ReLU, Linear) counts


def torchvision_name(path: Path) -> str:
    """What torchvision calls a variable of `ResNet`.

    >>> torchvision_name(("batch_stats", "layer2_0", "shortcut_bn", "mean"))
    'layer2.0.downsample.1.running_mean'
    """
    _, *modules, leaf = path
    named = [_SHORTCUTS.get(module, re.sub(r"^(layer\d)_", r"\1.", module)) for module in modules]
    return ".".join([*named, _LEAVES[leaf]])


def head_tensors(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The parameters of a `ProjectionHead` as those of nn.Sequential(Linear, ReLU, Linear)."""
    return {
        f"{number}.{_LEAVES[leaf]}": to_torch(np.asarray(params[layer][leaf]))
        for layer, number in _HEAD.items()
        for leaf in ("kernel", "bias")
    }


def head_params(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The parameters of a `ProjectionHead`, in numpy, from `head_tensors`.

    Raises:
      KeyError: a tensor is missing.
    """
    return {
        layer: {leaf: from_torch(tensors[f"{number}.{_LEAVES[leaf]}"]) for leaf in ("kernel", "bias")}
        for layer, number in _HEAD.items()
    }


TORCHVISION = Layout(
    package="torchvision",
    name=torchvision_name,
    to_file=to_torch,
    from_file=from_torch,
    file_shape=torch_shape,
    # In a torchvision file, but not part of the encoder: the classifier, and the counters.
    ignored=re.compile(rf"fc\.(weight|bias)|.*\.{_COUNTER}"),
    counter=lambda name: name.replace("running_var", _COUNTER) if name.endswith(".running_var") else None,
)
