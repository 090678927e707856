"""The Vision Transformer: the same network as timm's."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from tcl_jax.models.layers import Layers, drop_path_rates, precision_of
from tcl_jax.models.layout import Layout
from tcl_jax.models.timm import TIMM

HEADS = {"tiny": 3, "small": 6, "base": 12}
"""Attention heads by size; each has `width` features."""

PATCHES = {"cifar": 4, "imagenet": 16}
"""Side of a patch by stem, in pixels."""

# PyTorch's default for a convolution, which timm leaves as it is.
_patch_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Block(nn.Module):
    """Attention and a layer of 4 c hidden features, each with LayerNorm before it: [b, n, c] -> [b, n, c]."""

    heads: int
    drop_path: float
    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layers, features = self.layers, x.shape[-1]
        y = layers.dense(layers.layer_norm(x, name="norm1"), 3 * features, name="attn_qkv")
        q, k, v = jnp.moveaxis(y.reshape(*y.shape[:2], 3, self.heads, features // self.heads), 2, 0)
        y = nn.dot_product_attention(
            q,
            k,
            v,
            dtype=layers.dtype,
            precision=precision_of(layers.dtype),
            force_fp32_for_softmax=jnp.finfo(layers.dtype).bits < 32,
        ).reshape(x.shape)
        y = layers.drop(layers.dense(y, features, name="attn_proj"))
        x = x + layers.drop_path(y, self.drop_path)
        y = layers.dense(layers.layer_norm(x, name="norm2"), 4 * features, name="mlp_fc1")
        y = layers.drop(nn.gelu(y, approximate=False))
        y = layers.drop(layers.dense(y, features, name="mlp_fc2"))
        return x + layers.drop_path(y, self.drop_path)


class ViT(nn.Module):
    """Vision Transformer: float images [b, h, w, c] -> features [b, heads * width].

    Features are the class token after the last LayerNorm, or the mean over the patches, in at least float32. Modules
    are named as in timm, `blocks_0` for blocks.0 and so on.

    Attributes:
      depth: blocks.
      heads: of attention: 3, 6 and 12 are those of Ti, S and B.
      class_token: whether the features are those of a class token; otherwise they are the mean over the patches.
      stem: "cifar" for patches of 4 x 4 pixels, "imagenet" for 16 x 16.
      width: features of each head; 64 is the paper's.
      dtype: what is computed in; None is `param_dtype`. bfloat16 suits accelerators.
      param_dtype: dtype of parameters; LayerNorm's are at least float32.
      remat: keep only what goes into each block, and compute the rest again in the backward pass.
      dropout: probability of dropout, after the position embedding, attention and both layers of the MLP.
      drop_path: probability with which the last block is left out for an example; linear from 0 at the first.

    Raises:
      ValueError: images that are not 4-dimensional floats, or whose sides are not multiples of a patch's.

    Source: Dosovitskiy et al., An Image is Worth 16x16 Words, arXiv 2010.11929; initial values of timm.
    """

    depth: int = 12
    heads: int = 6
    class_token: bool = True
    stem: str = "cifar"
    width: int = 64
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    remat: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0

    layout: ClassVar[Layout] = TIMM

    @property
    def patch_side(self) -> int:
        """Side of a patch, in pixels."""
        return PATCHES[self.stem]

    @property
    def layer_names(self) -> tuple[tuple[str, ...], ...]:
        """Names of what each layer has, from the images on: patches and positions, then block by block."""
        token = ("cls_token",) if self.class_token else ()
        return (("patch_embed", *token, "pos_embed"), *((f"blocks_{index}",) for index in range(self.depth)))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(f"expected float images [b, h, w, c], got {images.dtype} {list(images.shape)}")
        if any(side % self.patch_side for side in images.shape[1:3]):
            raise ValueError(f"expected sides that {self.patch_side} divides, got {list(images.shape[1:3])}")
        dtype = self.param_dtype if self.dtype is None else self.dtype
        layers = Layers(train, self.dropout, dtype, self.param_dtype)
        features, batch = self.heads * self.width, images.shape[0]  # len() of a symbolic size fails

        x = layers.conv(
            images.astype(dtype),
            features,
            self.patch_side,
            stride=self.patch_side,
            kernel_init=_patch_init,
            name="patch_embed",
        ).reshape(batch, -1, features)
        if self.class_token:
            token = self.param("cls_token", nn.initializers.normal(1e-6), (1, 1, features), self.param_dtype)
            x = jnp.concatenate([jnp.broadcast_to(token.astype(dtype), (batch, 1, features)), x], axis=1)
        positions = self.param(
            "pos_embed", nn.initializers.normal(0.02), (1, x.shape[1], features), self.param_dtype
        )
        x = layers.drop(x + positions.astype(dtype))
        make_block = nn.remat(Block) if self.remat else Block
        for index, rate in enumerate(drop_path_rates(self.drop_path, self.depth)):
            x = make_block(self.heads, rate, layers, name=f"blocks_{index}")(x)
        x = layers.layer_norm(x, name="norm").astype(jnp.promote_types(dtype, jnp.float32))
        return x[:, 0] if self.class_token else jnp.mean(x, axis=1)
