"""The layout of timm's ViT and ConvNeXt, for files that timm writes and loads.

Modules have timm's names with "_" for ".": `blocks_0/attn_qkv/kernel` is blocks.0.attn.qkv.weight. Axes are PyTorch's.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tcl_jax.models.layout import Layout, Path, from_torch, to_torch, torch_shape

_LEAVES = {"kernel": "weight", "scale": "weight"}
_MODULES = {"patch_embed": "patch_embed.proj", "conv_dw": "conv_dw"}


def timm_name(path: Path) -> str:
    """What timm calls a variable of `ViT` or `ConvNeXt`.

    >>> timm_name(("params", "stages_0_blocks_1", "conv_dw", "kernel"))
    'stages.0.blocks.1.conv_dw.weight'
    """
    _, *modules, leaf = path
    named = [_MODULES.get(module, module.replace("_", ".")) for module in modules]
    return ".".join([*named, _LEAVES.get(leaf, leaf)])


def resize_positions(
    tensors: Mapping[str, np.ndarray], template: Mapping[str, Any], image_shape: tuple[int, int, int]
) -> Mapping[str, np.ndarray]:
    """The tensors with the position embedding of a ViT for images [h, w, c], where theirs is a square of another size.

    Bicubic and against aliasing, as timm's resample_abs_pos_embed. The class token's position stays.
    """
    params, found = template["params"], tensors.get("pos_embed")
    if "pos_embed" not in params or found is None or found.ndim != 3:
        return tensors
    patch = params["patch_embed"]["kernel"].shape[0]
    grid = (image_shape[0] // patch, image_shape[1] // patch)
    tokens = int("cls_token" in tensors)
    side, features = math.isqrt(max(found.shape[1] - tokens, 0)), found.shape[2]
    if side**2 != found.shape[1] - tokens or side == 0 or grid == (side, side):
        return tensors
    patches = found[0, tokens:].reshape(side, side, features)
    resized = np.asarray(jax.image.resize(patches, (*grid, features), "bicubic")).reshape(1, -1, features)
    return {**tensors, "pos_embed": np.concatenate([found[:, :tokens], resized], axis=1)}


TIMM = Layout(
    package="timm",
    name=timm_name,
    to_file=to_torch,
    from_file=from_torch,
    file_shape=torch_shape,
    ignored=re.compile(r"head\.(fc\.)?(weight|bias)"),  # the classifier
    counter=lambda name: None,
    resized=resize_positions,
)
