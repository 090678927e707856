"""ConvNeXt: the same network as timm's."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from tcl_jax.models.layers import SMALLEST_SIDE, Layers, drop_path_rates
from tcl_jax.models.layout import Layout
from tcl_jax.models.timm import TIMM


class Size(NamedTuple):
    """What the published sizes differ by, as `ConvNeXt` has it."""

    blocks: tuple[int, int, int, int]
    channels: int
    conv_mlp: bool


SIZES = {
    "atto": Size((2, 2, 6, 2), 40, True),
    "femto": Size((2, 2, 6, 2), 48, True),
    "pico": Size((2, 2, 6, 2), 64, True),
    "nano": Size((2, 2, 8, 2), 80, True),
    "tiny": Size((3, 3, 9, 3), 96, False),
}
_STRIDES = {"cifar": 1, "imagenet": 4}


class Block(nn.Module):
    """A 7x7 convolution of each channel and an MLP of 4 c hidden channels: [b, h, w, c] -> [b, h, w, c]."""

    conv_mlp: bool
    drop_path: float
    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layers, channels = self.layers, x.shape[-1]

        def linear(y: jax.Array, features: int, name: str) -> jax.Array:
            if self.conv_mlp:
                return layers.conv(y, features, 1, name=name)
            return layers.dense(y, features, name=name)

        y = layers.conv(x, channels, 7, padding=3, groups=channels, name="conv_dw")
        y = linear(layers.layer_norm(y, name="norm"), 4 * channels, "mlp_fc1")
        y = layers.drop(nn.gelu(y, approximate=False))
        y = layers.drop(linear(y, channels, "mlp_fc2"))
        gamma = self.param("gamma", nn.initializers.constant(1e-6), (channels,), layers.param_dtype)
        return x + layers.drop_path(gamma.astype(y.dtype) * y, self.drop_path)


class ConvNeXt(nn.Module):
    """ConvNeXt: float images [b, h, w, c] -> features [b, 8 * channels of the first stage].

    Features are LayerNorm of the global average over the last stage, in at least float32. Modules are named as in
    timm, `stages_0_blocks_1` for stages.0.blocks.1 and so on.

    Attributes:
      blocks: of each of the four stages.
      channels: of the first stage where `width` is 64.
      conv_mlp: whether the weights of an MLP are those of 1x1 convolutions, which changes their shape alone.
      stem: "imagenet" for 4x4 with stride 4, "cifar" for 1x1 with stride 1, after which the stages see small images
        as those of ResNet do.
      width: of 64ths of the published channels; 64 is the published network.
      dtype: what is computed in; None is `param_dtype`. bfloat16 suits accelerators.
      param_dtype: dtype of parameters; LayerNorm's are at least float32.
      remat: keep only what goes into each block, and compute the rest again in the backward pass.
      dropout: probability of dropout, after both layers of the MLP.
      drop_path: probability with which the last block is left out for an example; linear from 0 at the first.

    Raises:
      ValueError: images that are not 4-dimensional floats.

    Source: Liu et al., A ConvNet for the 2020s, arXiv 2201.03545; sizes, names and initial values of timm.
    """

    blocks: tuple[int, int, int, int] = (3, 3, 9, 3)
    channels: int = 96
    conv_mlp: bool = False
    stem: str = "cifar"
    width: int = 64
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    remat: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0

    layout: ClassVar[Layout] = TIMM

    @property
    def smallest_side(self) -> int:
        """Of an image, in pixels."""
        return SMALLEST_SIDE[self.stem]

    @property
    def layer_names(self) -> tuple[tuple[str, ...], ...]:
        """Names of the modules of each layer from the images on: the stem, then block by block."""
        layers: list[tuple[str, ...]] = [("stem_0", "stem_1")]
        for stage, count in enumerate(self.blocks):
            layers += [(f"stages_{stage}_blocks_{index}",) for index in range(count)]
            if stage:  # what makes the images smaller goes with the first block after it
                first = len(layers) - count
                layers[first] += (f"stages_{stage}_downsample_0", f"stages_{stage}_downsample_1")
        return tuple(layers)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(f"expected float images [b, h, w, c], got {images.dtype} {list(images.shape)}")
        dtype = self.param_dtype if self.dtype is None else self.dtype
        layers = Layers(train, self.dropout, dtype, self.param_dtype)
        channels = max(1, self.channels * self.width // 64)

        stride = _STRIDES[self.stem]
        x = layers.conv(images.astype(dtype), channels, stride, stride=stride, name="stem_0")
        x = layers.layer_norm(x, name="stem_1")
        make_block = nn.remat(Block) if self.remat else Block
        rates = iter(drop_path_rates(self.drop_path, sum(self.blocks)))
        for stage, count in enumerate(self.blocks):
            if stage:
                x = layers.layer_norm(x, name=f"stages_{stage}_downsample_0")
                x = layers.conv(x, channels * 2**stage, 2, stride=2, name=f"stages_{stage}_downsample_1")
            for index in range(count):
                x = make_block(self.conv_mlp, next(rates), layers, name=f"stages_{stage}_blocks_{index}")(x)
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
        return layers.layer_norm(x, name="head_norm")
