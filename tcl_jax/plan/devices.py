"""The devices of a plan: what an accelerator can do, and TPU slices that need not be present."""

import importlib.util
import math
import os
import re
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from tcl_jax.errors import UserError
from tcl_jax.parallel import make_mesh


class Accelerator(NamedTuple):
    """Peak of one device of JAX, without sparsity.

    Attributes:
      bfloat16: FLOP/s of matrix products.
      float32: FLOP/s of matrix products in full precision (`Precision.HIGHEST`). TPUs make one of six in bfloat16.
      memory: bytes; None where devices of this kind differ.
    """

    bfloat16: float
    float32: float
    memory: int | None = None


def _tpu(bfloat16: float, gibibytes: int) -> Accelerator:
    return Accelerator(bfloat16, bfloat16 / 6, gibibytes * 2**30)


# Vendors' data sheets. A kind that begins with one of these names has its numbers; the longest such name counts.
_ACCELERATORS = {
    "TPU v4": _tpu(275e12, 32),
    "TPU v5 lite": _tpu(197e12, 16),  # v5e
    "TPU v5": _tpu(459e12, 95),  # v5p
    "TPU v5p": _tpu(459e12, 95),
    "TPU v6 lite": _tpu(918e12, 32),  # v6e
    "NVIDIA A100": Accelerator(312e12, 19.5e12),
    "NVIDIA H100 80GB HBM3": Accelerator(989e12, 67e12),  # SXM
    "NVIDIA H200": Accelerator(989e12, 67e12),
}


def find_accelerator(kind: str) -> Accelerator | None:
    """The accelerator of a `device_kind` of JAX, or None where its peak is not known."""
    known = [name for name in _ACCELERATORS if kind.startswith(name)]
    return _ACCELERATORS[max(known, key=len)] if known else None


# v4 is left out: JAX takes each of its chips for two devices where no TPU is present, and for one where one is.
_GENERATIONS = ("v5e", "v5p", "v6e")
# Keeps libtpu from looking for a TPU and for the cloud around it, and from writing logs.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_LOG_DIR": "disabled",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # a TPU is for one process at a time, its compiler for many
}


def prepare_environment() -> None:
    """Make JAX use the CPU and not look for a TPU, as `topology_mesh` needs; call it before JAX looks for devices."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    jax.config.update("jax_platforms", "cpu")


def topology_mesh(name: str) -> Mesh:
    """A mesh over all chips of a TPU slice such as "v5e:2x4", none of which need be present.

    Programs can be compiled for it, but not run.

    Raises:
      UserError: there is no such slice, or the TPU compiler is not installed.
    """
    parts = re.fullmatch(r"([a-z0-9]+):(\d+(?:x\d+)+)", name)
    if parts is None or parts[1] not in _GENERATIONS:
        raise UserError(
            f"--plan_topology is '{name}', expected a TPU generation among {', '.join(_GENERATIONS)} and the chips "
            "along each side, as in v5e:2x4 or v5p:2x2x2."
        )
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--plan_topology={name} needs the TPU compiler, which is not installed: pip install 'tcl_jax[tpu-plan]' "
            "(0.7 GB), or plan for the devices of this machine without the flag."
        )
    from jax.experimental import topologies

    # By default a host has four chips, of which a single chip would not be a whole host.
    single = math.prod(map(int, parts[2].split("x"))) == 1
    options = {"chips_per_host_bounds": [1, 1, 1]} if single else {}
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except Exception as error:  # JAX's own types, which are not the same in every version
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"--plan_topology is '{name}', which the TPU compiler refuses ({reason}): give a slice that exists, "
            "as v5e:2x4."
        ) from error
    return make_mesh(devices=described.devices)
