"""Models by name, known ones and the user's own, and the checks that turn a wrong choice into one clear sentence."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from tcl_jax.errors import UserError
from tcl_jax.models.contrastive import ContrastiveModel
from tcl_jax.models.convnext import SIZES, ConvNeXt
from tcl_jax.models.heads import LinearClassifier, ProjectionHead
from tcl_jax.models.layout import FLAX, layout_of
from tcl_jax.models.resnet import DEPTHS, STEMS, ResNet
from tcl_jax.models.vit import HEADS, ViT
from tcl_jax.resolve import arguments_of, resolve

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": functools.partial(ResNet, depth) for depth in DEPTHS},
    **{f"wide_resnet{depth}_2": functools.partial(ResNet, depth, widening=2) for depth in (50, 101)},
    **{f"vit_{size}": functools.partial(ViT, heads=heads) for size, heads in HEADS.items()},
    **{
        f"vit_{size}_gap": functools.partial(ViT, heads=heads, class_token=False)
        for size, heads in HEADS.items()
    },
    **{f"convnext_{size_name}": functools.partial(ConvNeXt, *size) for size_name, size in SIZES.items()},
}
"""Encoders by name: functions that take, by name, any of the options of `make_encoder`."""

_OPTIONS = ("stem", "width", "axis_name", "dtype", "param_dtype", "remat", "dropout", "drop_path")
# The fields of options that must not be passed over.
_FIELDS = {
    "dtype": "train.precision",
    "remat": "model.remat",
    "dropout": "model.dropout",
    "drop_path": "model.drop_path",
}
_EXAMPLE = "my_encoder.py with `def make(): return MyModule()`, images [b, h, w, c] -> features [b, f]"


def make_encoder(
    name: str,
    *,
    stem: str,
    width: int,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
    param_dtype: DTypeLike = jnp.float32,
    remat: bool = False,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> nn.Module:
    """The encoder called `name`: images [b, h, w, c] -> features [b, f].

    Args:
      name: one of `ENCODERS` , such as "resnet18", "vit_small" or "convnext_tiny", or "module:attribute" of the user's
        own: a Linen module called with (images) or (images, train), or a function or class that makes one, which is
        handed those of the following arguments that it names.
      stem: "cifar" for small images, "imagenet" for large ones.
      width: channels of the first stage or features of a head, at least 1; 64 is the papers'.
      axis_name: the mapped axis over which BatchNorm shares its statistics; None keeps each device's own.
      dtype: compute dtype of the encoder; None is `param_dtype`.
      param_dtype: dtype of parameters and statistics.
      remat: compute each residual block again in the backward pass, instead of keeping its activations.
      dropout: probability with which a number is dropped in training, in [0, 1).
      drop_path: probability of stochastic depth at the last block, in [0, 1).

    Raises:
      UserError: an unknown name or stem, a width below 1, a part that does not make a module, or one that cannot be
        handed a dtype, remat, dropout or drop_path that is asked for.
    """
    _check_stem(stem)
    _check_positive("model.width", width)
    options = dict(
        stem=stem,
        width=width,
        axis_name=axis_name,
        dtype=dtype,
        param_dtype=param_dtype,
        remat=remat,
        dropout=dropout,
        drop_path=drop_path,
    )
    encoder = _resolve(name)
    taken = {} if isinstance(encoder, nn.Module) else arguments_of(encoder, options, field="model.name")
    for option, field in _FIELDS.items():
        if options[option] and option not in taken:
            raise UserError(
                f"{field} is set, but the encoder {name!r} of model.name takes no {option!r}: leave {field} at its "
                "default, or take the argument."
            )
    if not isinstance(encoder, nn.Module):
        encoder = encoder(**taken)
    if not isinstance(encoder, nn.Module):
        raise UserError(
            f"model.name is {name!r}, which makes a {type(encoder).__name__}, expected a flax.linen.Module: "
            f"return one, as in {_EXAMPLE}."
        )
    return encoder


def with_head(
    encoder: nn.Module,
    *,
    projection_dim: int,
    num_classes: int | None = None,
    param_dtype: DTypeLike = jnp.float32,
) -> ContrastiveModel:
    """An encoder with a projection head, or with a linear classifier where `num_classes` is given.

    Args:
      projection_dim: length of a projection, at least 1; 128 is the papers'.

    Raises:
      UserError: a projection_dim below 1.
    """
    _check_positive("model.projection_dim", projection_dim)
    if num_classes is not None:
        return ContrastiveModel(encoder, LinearClassifier(num_classes, param_dtype))
    return ContrastiveModel(encoder, ProjectionHead(projection_dim, param_dtype))


def make_model(
    name: str,
    *,
    projection_dim: int,
    num_classes: int | None = None,
    param_dtype: DTypeLike = jnp.float32,
    **options: Any,
) -> ContrastiveModel:
    """`make_encoder` and `with_head` in one call; arguments and errors are theirs."""
    encoder = make_encoder(name, param_dtype=param_dtype, **options)
    return with_head(encoder, projection_dim=projection_dim, num_classes=num_classes, param_dtype=param_dtype)


def takes(name: str, option: str) -> bool:
    """Whether the encoder called `name` can be handed an option of `make_encoder`, such as "dtype"."""
    part = _resolve(name)
    return not isinstance(part, nn.Module) and option in arguments_of(
        part, dict.fromkeys(_OPTIONS), field="model.name"
    )


def check_model(model: ContrastiveModel, image_shape: tuple[int, int, int]) -> None:
    """Refuse an encoder that cannot be trained on images [h, w, c].

    Raises:
      UserError: images smaller than the encoder's `smallest_side`, or not of whole patches of its `patch_side`, where
        it has these attributes; or an encoder of the user's own that does not make features [b, f], or keeps other
        variables than "params" and "batch_stats".
    """
    height, width, _ = image_shape
    _check_sides(model.encoder, height, width)
    if layout_of(model.encoder) is not FLAX:  # one of the package's own, whose features are known
        return
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)

    def encode(key: jax.Array, images: jax.Array) -> tuple[jax.Array, Any]:
        return model.init_with_output(key, images, train=False, method="encode")

    features, variables = jax.eval_shape(encode, jax.random.key(0), images)
    if features.ndim != 2 or features.shape[0] != 2:
        raise UserError(
            f"The encoder of model.name makes an array of shape {list(features.shape)} of 2 images, expected features "
            "[2, f]: take the mean over pixels, or flatten them."
        )
    if others := sorted(set(variables) - {"params", "batch_stats"}):
        raise UserError(
            f"The encoder of model.name keeps variables in {others[0]!r}, expected 'params' and, for BatchNorm, "
            "'batch_stats' alone: keep none in another collection."
        )


def model_shapes(model: ContrastiveModel, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Structure, shapes and dtypes of the variables of a model for images [h, w, c], of which none is computed."""
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return dict(jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image))


def compute_dtype(precision: str, platform: str) -> jnp.dtype | None:
    """What an encoder computes in: bfloat16, or None for the dtype of its parameters.

    Args:
      precision: "float32", "bfloat16", or "auto", which is bfloat16 on accelerators and float32 on a CPU.

    Raises:
      UserError: another word.
    """
    known = ("auto", "float32", "bfloat16")
    if precision not in known:
        raise UserError(f"train.precision is {precision!r}, expected one of {', '.join(known)}.")
    narrow = precision == "bfloat16" or (precision == "auto" and platform != "cpu")
    return jnp.dtype(jnp.bfloat16) if narrow else None


def _check_sides(encoder: nn.Module, height: int, width: int) -> None:
    """Refuse images below the encoder's `smallest_side`, or not of whole patches of its `patch_side`."""
    smallest, patch = getattr(encoder, "smallest_side", 1), getattr(encoder, "patch_side", 1)
    stem = getattr(encoder, "stem", "")
    images = f"The images have {height}x{width} pixels"
    kind = type(encoder).__name__ + (f" with model.stem {stem!r}" if stem else "")
    if min(height, width) < smallest:
        remedy = (
            "set model.stem to 'cifar', or use larger images" if stem == "imagenet" else "use larger images"
        )
        raise UserError(
            f"{images}, too few for {kind}, which needs at least {smallest}x{smallest}: {remedy}."
        )
    if height % patch or width % patch:
        other = ", or model.stem to the other" if stem else ""
        raise UserError(
            f"{images}, which are not whole patches of {patch}x{patch}, those of {kind}: set data.image_size to a "
            f"multiple of {patch}{other}."
        )


def _resolve(name: str) -> Any:
    return resolve(name, ENCODERS, field="model.name", example=_EXAMPLE)


def _check_stem(stem: str) -> None:
    if stem not in STEMS:
        raise UserError(f"model.stem is {stem!r}, expected one of {', '.join(STEMS)}.")


def _check_positive(field: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{field} is {value}, expected 1 or more.")
