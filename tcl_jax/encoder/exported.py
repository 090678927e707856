"""The files of an exported encoder: weights by torchvision's names, and all that is needed to use them, as text."""

import json
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from tcl_jax.encoder.trained_encoder import TrainedEncoder
from tcl_jax.errors import UserError
from tcl_jax.models import model_shapes
from tcl_jax.models.description import EncoderDescription
from tcl_jax.models.layout import (
    encoder_tensors,
    encoder_variables,
    in_brief,
    layout_of,
    mismatches,
    of_encoder,
)
from tcl_jax.models.tensor_file import read_tensors, write_tensors
from tcl_jax.models.torchvision import head_params, head_tensors
from tcl_jax.parallel import replicate

PROJECTION = "projection.safetensors"
_VERSION = "2"


def write_exported(trained: TrainedEncoder, path: epath.Path) -> epath.Path | None:
    """Write or replace the encoder at `path`, and its projection head beside it; returns where the latter is, if any.

    Raises:
      WriteFailed: a file cannot be written.
    """
    variables = jax.device_get(trained.variables)
    metadata = _metadata(trained.description)
    projection = path.parent / PROJECTION if trained.has_projection else None
    if projection is not None:
        write_tensors(projection, head_tensors(variables["params"]["head"]), metadata)
    layout = layout_of(trained.model.encoder)
    write_tensors(
        path, encoder_tensors(of_encoder(variables), layout, num_batches=trained.description.step), metadata
    )
    return projection


def read_exported(path: epath.Path, mesh: Mesh) -> TrainedEncoder:
    """The encoder at `path`, on the devices of `mesh`, and its projection head if that lies beside it.

    Raises:
      UserError: the file cannot be read, or is not an exported encoder.
    """
    tensors, metadata = read_tensors(path)
    description = described(metadata, path)
    head = _head(path.parent / PROJECTION, metadata)
    model = description.make_model(mesh)
    template, layout = of_encoder(model_shapes(model, description.image_shape)), layout_of(model.encoder)
    if wrong := mismatches(tensors, template, layout):
        raise UserError(
            f"{path} does not hold the encoder {description.model} that it describes ({in_brief(wrong)}): export it "
            "again."
        )
    encoder = encoder_variables(tensors, template, layout)
    variables = {kind: {"encoder": tree} for kind, tree in encoder.items()}
    if head:
        variables["params"]["head"] = head
    return TrainedEncoder(model, replicate(variables, mesh), description)


def _metadata(description: EncoderDescription) -> dict[str, str]:
    """Text by name: words as they are, numbers and lists as JSON."""
    fields = description._asdict()
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return {"format_version": _VERSION, **texts}


def described(metadata: dict[str, str], path: epath.Path) -> EncoderDescription:
    """What the metadata of the file at `path` say of its encoder.

    Raises:
      UserError: they are not of an exported encoder, or of one of another version.
    """
    version = metadata.get("format_version")
    if version is None:
        raise UserError(
            f"{path} does not describe the images of its encoder, as files of --mode=export do: export a run, or start "
            "a training from these weights with model.init_from."
        )
    if version != _VERSION:
        raise UserError(
            f"{path} has version {version} of the format, expected {_VERSION}: use the tcl_jax that wrote it."
        )
    kinds = EncoderDescription.__annotations__
    try:
        return EncoderDescription.from_json(
            {
                name: metadata[name] if kind is str else json.loads(metadata[name])
                for name, kind in kinds.items()
            }
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} does not describe all of its encoder ({error}): export it again.") from error


def _head(path: epath.Path, metadata: dict[str, str]) -> dict[str, Any] | None:
    """The projection head in `path`, if it is of the encoder with this metadata."""
    if not path.exists():
        return None
    tensors, own = read_tensors(path)
    try:
        return head_params(tensors) if own == metadata else None
    except KeyError as error:
        raise UserError(f"{path} is not a projection head, as it lacks {error}: export it again.") from error
