"""The ResNet image encoder: the same network as torchvision's and as the SupCon and TCL papers' code."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from tcl_jax.models.convolution import convolve
from tcl_jax.models.layers import SMALLEST_SIDE, precision_of
from tcl_jax.models.layout import Layout
from tcl_jax.models.torchvision import TORCHVISION

STEMS = tuple(SMALLEST_SIDE)

# He et al. 2015, untruncated, as PyTorch's kaiming_normal_(mode="fan_out").
_kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


@dataclasses.dataclass(frozen=True)
class _Layers:
    """The two layers every part of the network is made of, with the settings that they share."""

    train: bool
    axis_name: str | None
    dtype: DTypeLike
    param_dtype: DTypeLike

    def conv(self, x: jax.Array, features: int, size: int, *, stride: int = 1, name: str) -> jax.Array:
        """A `size` x `size` convolution without bias, padded by (size - 1) / 2 on every side."""
        # Not "SAME": at stride 2 Flax's pads the right and bottom only, which shifts every later pixel.
        padding = ((size - 1) // 2,) * 2
        return nn.Conv(
            features,
            (size, size),
            strides=(stride, stride),
            padding=(padding, padding),
            use_bias=False,
            conv_general_dilated=convolve,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=precision_of(self.dtype),
            kernel_init=_kaiming_normal,
            name=name,
        )(x)

    def batch_norm(self, x: jax.Array, *, name: str) -> jax.Array:
        """BatchNorm computed in at least float32, returned in the dtype of `x`."""
        # One dtype for everything inside, so that the running statistics keep theirs: left to itself, Flax
        # starts them in float32, and in a 64-bit run the first step turns them into float64.
        dtype = jnp.promote_types(self.param_dtype, jnp.float32)
        normalized = nn.BatchNorm(
            use_running_average=not self.train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=dtype,
            param_dtype=dtype,
            axis_name=self.axis_name,
            use_fast_variance=False,
            force_float32_reductions=False,
            name=name,
        )(x)
        return normalized.astype(x.dtype)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [b, h, w, c] -> [b, h/stride, w/stride, channels]."""

    channels: int
    stride: int
    layers: _Layers
    widening: int = 1  # there is one width alone

    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, batch_norm = self.layers.conv, self.layers.batch_norm
        y = conv(x, self.channels, 3, stride=self.stride, name="conv1")
        y = nn.relu(batch_norm(y, name="bn1"))
        y = conv(y, self.channels, 3, name="conv2")
        y = batch_norm(y, name="bn2")
        return nn.relu(y + _shortcut(x, y.shape[-1], self.stride, self.layers))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: [b, h, w, c] -> [b, h/stride, w/stride, 4 channels]."""

    channels: int
    stride: int
    layers: _Layers
    widening: int = 1  # of the 3x3 convolution

    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, batch_norm = self.layers.conv, self.layers.batch_norm
        inner = self.channels * self.widening
        y = conv(x, inner, 1, name="conv1")
        y = nn.relu(batch_norm(y, name="bn1"))
        # The stride sits here and not in conv1: "v1.5", as in torchvision.
        y = conv(y, inner, 3, stride=self.stride, name="conv2")
        y = nn.relu(batch_norm(y, name="bn2"))
        y = conv(y, self.channels * self.expansion, 1, name="conv3")
        y = batch_norm(y, name="bn3")
        return nn.relu(y + _shortcut(x, y.shape[-1], self.stride, self.layers))


# depth: (block, blocks in each of the four stages)
DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """ResNet encoder, v1.5: float images [b, h, w, c] -> features [b, 8 * width * expansion].

    The expansion is 1 for depths 18 and 34 and 4 for the others. Features are the global average over the
    last stage, in at least float32. Modules are named as in PyTorch (`conv1`, `bn1`, `layer1_0`, ...), with
    `shortcut_conv` and `shortcut_bn` where a block changes the shape. Initial values are those of the papers'
    code: Kaiming normal over fan-out for convolutions, scale 1 and bias 0 for BatchNorm.

    Attributes:
      depth: 18, 34, 50, 101 or 152.
      stem: "cifar" (3x3, stride 1: for small images) or "imagenet" (7x7, stride 2; 3x3 max-pool, stride 2).
      width: channels of the first stage; 64 is the papers'.
      axis_name: the mapped axis over which BatchNorm averages its training statistics; None leaves each
        device with its own.
      dtype: what convolutions and activations compute in; None is `param_dtype`. bfloat16 suits
        accelerators.
      param_dtype: dtype of parameters and running statistics; the latter are at least float32.
      remat: keep only what goes into each residual block, and compute its activations again in the backward pass: the
        same gradient from less memory, at the price of a second forward pass.
      widening: of the 3x3 convolutions of depths 50 and more; 2 for wide_resnet50_2 and wide_resnet101_2.

    Raises:
      ValueError: images that are not 4-dimensional floats, an unknown depth or an unknown stem.

    Source: He et al., Deep Residual Learning, arXiv 1512.03385; stride placement of torchvision.
    """

    depth: int = 50
    stem: str = "cifar"
    width: int = 64
    axis_name: str | None = None
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    remat: bool = False
    widening: int = 1

    layout: ClassVar[Layout] = TORCHVISION

    @property
    def smallest_side(self) -> int:
        """Of an image, in pixels."""
        return SMALLEST_SIDE[self.stem]

    @property
    def layer_names(self) -> tuple[tuple[str, ...], ...]:
        """Names of the modules of each layer from the images on: the stem, then block by block."""
        _, sizes = DEPTHS[self.depth]
        blocks = ((f"layer{stage + 1}_{index}",) for stage, size in enumerate(sizes) for index in range(size))
        return (("conv1", "bn1"), *blocks)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(f"expected float images [b, h, w, c], got {images.dtype} {list(images.shape)}")
        if self.depth not in DEPTHS:
            raise ValueError(f"expected a depth among {sorted(DEPTHS)}, got {self.depth}")
        dtype = self.param_dtype if self.dtype is None else self.dtype
        layers = _Layers(train, self.axis_name, dtype, self.param_dtype)

        x = _stem(images.astype(dtype), self.stem, self.width, layers)
        block, sizes = DEPTHS[self.depth]
        make_block = nn.remat(block) if self.remat else block
        for stage, size in enumerate(sizes):
            for index in range(size):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"layer{stage + 1}_{index}"
                x = make_block(self.width * 2**stage, stride, layers, self.widening, name=name)(x)
        return jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))


def _stem(images: jax.Array, stem: str, width: int, layers: _Layers) -> jax.Array:
    """The layers before the first stage."""
    if stem == "cifar":
        x = layers.conv(images, width, 3, name="conv1")
        return nn.relu(layers.batch_norm(x, name="bn1"))
    if stem == "imagenet":
        x = layers.conv(images, width, 7, stride=2, name="conv1")
        x = nn.relu(layers.batch_norm(x, name="bn1"))
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))  # pads with -inf
    raise ValueError(f"expected a stem among {list(STEMS)}, got {stem!r}")


def _shortcut(x: jax.Array, channels: int, stride: int, layers: _Layers) -> jax.Array:
    """`x` itself, or its projection where the block changes the shape."""
    if stride == 1 and x.shape[-1] == channels:
        return x
    x = layers.conv(x, channels, 1, stride=stride, name="shortcut_conv")
    return layers.batch_norm(x, name="shortcut_bn")
