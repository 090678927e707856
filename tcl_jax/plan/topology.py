"""Devices that are not there: TPU slices by name, for which programs can be compiled but not run."""

import importlib.util
import math
import os
import re

import jax
from jax.sharding import Mesh

from tcl_jax.errors import UserError
from tcl_jax.parallel import make_mesh

# v4 is left out: without a TPU, JAX takes each of its chips for two devices, with one it does not.
_GENERATIONS = ("v5e", "v5p", "v6e")
# What keeps libtpu from looking for a TPU and for the cloud around it, and from writing logs.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_LOG_DIR": "disabled",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # a TPU is for one process at a time, its compiler for many
}


def prepare_environment() -> None:
    """What `topology_mesh` needs to be said before JAX looks for devices: that it shall use the CPU, and no TPU."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    jax.config.update("jax_platforms", "cpu")


def topology_mesh(name: str) -> Mesh:
    """A mesh over all chips of a TPU slice such as "v5e:2x4", none of which need be there.

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
            f"--plan_topology={name} needs the TPU compiler, which is not installed: pip install -e '.[tpu-plan]' "
            "(0.7 GB), or plan for the devices of this machine without the flag."
        )
    from jax.experimental import topologies

    # A single chip is no part of the hosts of four that are the default.
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
