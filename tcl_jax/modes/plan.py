"""`--mode=plan`: what a run would need, without training."""

import json

from ml_collections import ConfigDict

from tcl_jax.errors import UserError, WriteFailed
from tcl_jax.files import write_whole, writing
from tcl_jax.parallel import make_mesh
from tcl_jax.plan.devices import topology_mesh
from tcl_jax.plan.estimate import make_plan
from tcl_jax.plan.table import format_plan
from tcl_jax.run.workdir import Workdir


def run(
    config: ConfigDict,
    workdir: Workdir | None,
    config_name: str,
    *,
    topology: str = "",
    peak_share: float = 0.4,
) -> None:
    """Print what a run needs, and write plan.json where there is a `workdir`, and nothing else.

    Args:
      topology: of TPUs that need not be present, as "v5e:2x4"; "" plans for the devices present.
      peak_share: of the devices' peak FLOP/s that a step is taken to reach, above 0 and at most 1.

    Raises:
      UserError: the config cannot be used, the topology cannot be compiled for, or the file cannot be written.
    """
    if not 0 < peak_share <= 1:
        raise UserError(f"--plan_peak_share is {peak_share}, expected a number above 0 and at most 1.")
    mesh = topology_mesh(topology) if topology else make_mesh()
    plan = {"config_name": config_name, **make_plan(config, mesh, peak_share=peak_share)}
    print(format_plan(plan))
    if workdir is None:
        return
    folder = workdir.path
    try:
        with writing(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "plan.json", json.dumps(plan, indent=2) + "\n")
    except WriteFailed as error:
        todo = "free space, or give" if error.disk_full else "give"
        raise UserError(
            f"The plan cannot be written to the folder {folder} ({error.cause}): {todo} another folder with --workdir."
        ) from error
