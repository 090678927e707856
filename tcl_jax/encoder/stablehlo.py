"""An exported encoder as one program that JAX alone runs: StableHLO, with weights and normalisation inside."""

import importlib.metadata
import json
import textwrap
from typing import Any

import jax
import numpy as np
from etils import epath
from jax import export

from tcl_jax.encoder.trained_encoder import TrainedEncoder
from tcl_jax.errors import UserError
from tcl_jax.files import write_whole, write_whole_bytes
from tcl_jax.models.encode import make_apply

PLATFORMS = ("cpu", "cuda", "tpu")


def write_stablehlo(trained: TrainedEncoder, path: epath.Path) -> epath.Path:
    """Write or replace the program at `path`, and its description beside it; returns where the latter is.

    The program: uint8 [n, h, w, c], 0 to 255 -> features float32 [n, f], for any n from 1, on PLATFORMS. It computes in
    the dtype that the encoder has on the devices here.

    Raises:
      UserError: the encoder cannot be one program for any number of images, or flatbuffers is not installed.
      WriteFailed: a file cannot be written.
    """
    description = trained.description
    apply = make_apply(trained.model, mean=description.mean, std=description.std)
    variables = trained.encoder_variables
    (count,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((count, *description.image_shape), np.uint8)
    try:
        exported = export.export(jax.jit(lambda images: apply(variables, images)), platforms=PLATFORMS)(
            images
        )
    except Exception as error:  # whatever the code of a user's own encoder raises
        cause = textwrap.shorten(str(error), width=160, placeholder=" ...")
        raise UserError(
            f"{description.model} is not a program for any number of images ({type(error).__name__}: {cause}): with "
            "train=False an encoder must change none of its variables, draw no random numbers, and not depend on the "
            "number of images."
        ) from error
    try:
        program = exported.serialize()
    except ImportError as error:
        raise UserError(
            "JAX writes its programs with flatbuffers, which is not installed: pip install flatbuffers."
        ) from error
    write_whole_bytes(path, bytes(program))
    described = path.parent / f"{path.name}.json"
    write_whole(described, json.dumps(_description(trained, exported), indent=2) + "\n")
    return described


def _description(trained: TrainedEncoder, exported: export.Exported) -> dict[str, Any]:
    (images,), (features,) = exported.in_avals, exported.out_avals
    return {
        "images": _array(images),
        "features": _array(features),
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")},
        "encoder": trained.description._asdict(),
    }


def _array(array: Any) -> dict[str, Any]:
    return {
        "shape": [x if isinstance(x, int) else str(x) for x in array.shape],
        "dtype": np.dtype(array.dtype).name,
    }
