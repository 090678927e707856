"""Files of named arrays (safetensors): arrays and text, nothing that runs."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from safetensors import numpy as safetensors

from tcl_jax.errors import UserError
from tcl_jax.files import write_whole_bytes

SUFFIX = ".safetensors"

# How PyTorch's own files begin: a zip archive of pickles, or a pickle.
_PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")
_PICKLE_BEGINS = (b"PK\x03\x04", b"\x80\x02")


class TensorFile(NamedTuple):
    """What a file holds.

    Attributes:
      tensors: arrays by name; they are read-only.
      metadata: text by name; empty where there is none.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


def write_tensors(path: epath.Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write or replace a file at one stroke; the same content makes the same bytes. The arrays are C-contiguous.

    Raises:
      WriteFailed: it cannot be written; the old content is still there.
    """
    header, body = _parts(safetensors.save(dict(tensors)))
    # The library writes metadata in an order that changes from call to call.
    described = {"__metadata__": dict(metadata), **header} if metadata else header
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8
    write_whole_bytes(path, len(text).to_bytes(8, "little") + text + body)


def read_tensors(path: epath.Path) -> TensorFile:
    """Read a file; one of PyTorch's pickles is never unpickled.

    Raises:
      UserError: a file that does not exist, or it is of another format or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}): give the path of a {SUFFIX} file."
        ) from error
    try:
        tensors = safetensors.load(data)
        metadata = _parts(data)[0].get("__metadata__", {})
    except Exception as error:  # the library's own types, and a KeyError for dtypes that numpy does not have
        if path.suffix in _PICKLE_SUFFIXES or data.startswith(_PICKLE_BEGINS):
            raise UserError(
                f"{path} seems to hold PyTorch's pickles, which are never loaded here, as they can run any code: "
                "convert it in PyTorch with safetensors.torch.save_file(torch.load(path, weights_only=True), new_path)."
            ) from error
        if path.suffix == ".stablehlo":
            raise UserError(
                f"{path} is a program, not weights: run it with JAX, as docs/encoders.md shows, or "
                f"give the encoder{SUFFIX} of --mode=export."
            ) from error
        raise UserError(
            f"{path} is not a {SUFFIX} file of float32 tensors, or damaged ({type(error).__name__}: {error}): "
            "write it again."
        ) from error
    return TensorFile(tensors, metadata)


def _parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and numbers: 8 bytes hold the length of the former, which is JSON."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]
