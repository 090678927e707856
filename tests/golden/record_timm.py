"""Records timm_features.npz: features and gradients of small networks of timm, and resized position embeddings.

    python3.11 -m venv public && public/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31
    public/bin/python tests/golden/record_timm.py

Each network of `NETWORKS` is filled with `drawn_weights` of its state_dict's shapes, in eval() and double(). The file
holds, by name, `shapes` as JSON, `features` of `IMAGES`, and `gradients`: `projected` gradients of the sum of the
squared features, by every parameter and by "images" [b, h, w, c]. "resized" holds what resample_abs_pos_embed makes
of POSITIONS, by the new grid, and "names" the names and shapes of the published sizes, of timm and of the ResNets of
torchvision that torchvision_names.json lacks.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

SIDE = 32
IMAGES = np.random.default_rng(1).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
POSITIONS = np.random.default_rng(2).normal(size=(1, 1 + 4 * 4, 6)).astype(np.float32)
GRIDS = ((8, 8), (3, 3), (4, 6))
VIT = dict(img_size=SIDE, patch_size=16, embed_dim=12, num_heads=3, depth=2, num_classes=0)
NETWORKS = {
    "vit": VIT,
    "vit_gap": VIT | dict(class_token=False, global_pool="avg", fc_norm=False),
    "vit_patch4": VIT | dict(patch_size=4),
    "convnext": dict(depths=(1, 2, 1, 1), dims=(6, 12, 24, 48), num_classes=0),
    "convnext_conv_mlp": dict(depths=(2, 1, 2, 1), dims=(5, 10, 20, 40), conv_mlp=True, num_classes=0),
}
PUBLISHED = (
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "convnext_atto",
    "convnext_femto",
    "convnext_pico",
    "convnext_nano",
    "convnext_tiny",
)
RESNETS = ("resnet152", "wide_resnet50_2", "wide_resnet101_2")


def drawn_weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """By name, in the order of the sorted names: weights under which every layer matters."""
    rng = np.random.default_rng(0)

    def draw(name: str, shape: list[int]) -> np.ndarray:
        if name.endswith("gamma") or (name.endswith("weight") and len(shape) == 1):
            return rng.uniform(0.5, 1.5, shape)
        scale = 0.2 if len(shape) in (1, 3) else 1 / np.sqrt(np.prod(shape[1:]))
        return scale * rng.normal(size=shape)

    return {name: draw(name, shapes[name]).astype(np.float32) for name in sorted(shapes)}


def projected(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Four random projections of each array, float64 [arrays, 4], in the order of the sorted names."""
    rng = np.random.default_rng(3)
    return np.array(
        [rng.normal(size=(4, arrays[name].size)) @ arrays[name].ravel() for name in sorted(arrays)]
    )


def shapes_of(network) -> dict[str, list[int]]:
    """Shapes of its state by name."""
    return {name: list(value.shape) for name, value in network.state_dict().items()}


def main() -> None:
    """Write the file."""
    import timm
    import torch
    import torchvision
    from timm.layers import resample_abs_pos_embed
    from timm.models.convnext import ConvNeXt
    from timm.models.vision_transformer import VisionTransformer

    recorded = {}
    for name, options in NETWORKS.items():
        network = (VisionTransformer if "vit" in name else ConvNeXt)(**options)
        shapes = shapes_of(network)
        network.load_state_dict({k: torch.from_numpy(v) for k, v in drawn_weights(shapes).items()})
        images = torch.from_numpy(IMAGES).double().permute(0, 3, 1, 2).requires_grad_()
        features = network.double().eval()(images)
        features.square().sum().backward()
        recorded[f"{name}/shapes"] = json.dumps(shapes)
        recorded[f"{name}/features"] = features.detach().numpy()
        gradients = {key: parameter.grad.numpy() for key, parameter in network.named_parameters()}
        gradients["images"] = images.grad.permute(0, 2, 3, 1).numpy()
        recorded[f"{name}/gradients"] = projected(gradients)
    for grid in GRIDS:
        resized = resample_abs_pos_embed(torch.from_numpy(POSITIONS), list(grid), num_prefix_tokens=1)
        recorded[f"resized/{grid[0]}x{grid[1]}"] = resized.numpy()
    names = {name: shapes_of(timm.create_model(name)) for name in PUBLISHED}
    names |= {name: shapes_of(getattr(torchvision.models, name)()) for name in RESNETS}
    packages = ", ".join(f"{name} {version(name)}" for name in ("timm", "torchvision", "torch"))
    path = Path(__file__).parent / "timm_features.npz"
    np.savez_compressed(path, source=packages, names=json.dumps(names), **recorded)


if __name__ == "__main__":
    main()
