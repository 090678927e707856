"""Several processes of one run, as on the hosts of a TPU slice: how they find each other, and what they do together.

With one process, which is the usual case, every function here does the plain thing.
"""

import glob
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from tcl_jax.errors import RunFailed, UserError

T = TypeVar("T")


def start(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the processes of this run; to be called before anything else of JAX.

    They are those that the arguments name, or else those that the environment names: the tasks of srun (Slurm) or
    mpirun (Open MPI), or the workers of a TPU slice. Where neither does, the process stays alone.

    Args:
      coordinator: "host:port" of process 0, on which it listens.
      num_processes: of the run; 1 stays alone whatever the environment says.
      process_id: of this one, 0 to num_processes - 1.

    Raises:
      UserError: arguments that do not belong together, or processes that do not find each other.
    """
    named = (coordinator, num_processes, process_id)
    if named == (None, 1, None):
        return
    if any(value is not None for value in named):
        _check_named(coordinator, num_processes, process_id)
        found = "as named by --coordinator"
        options: dict[str, Any] = dict(
            coordinator_address=coordinator,
            num_processes=num_processes,
            process_id=process_id,
            cluster_detection_method="deactivate",
        )
    else:
        environment = detect(os.environ)
        if environment is None:
            return
        found, options = f"as {environment} says", {}
    try:
        jax.distributed.initialize(**options)
    except Exception as error:  # what is raised depends on the environment and on how far it came
        raise UserError(
            f"The processes of this run do not find each other, {found} ({error}): start all of them within five "
            "minutes, name them by --coordinator, --num_processes and --process_id, or use this machine alone with "
            "--num_processes=1."
        ) from error


def _check_named(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    if coordinator is None or num_processes is None or process_id is None:
        raise UserError(
            "--coordinator, --num_processes and --process_id belong together, as in --coordinator=host0:8476 "
            "--num_processes=2 --process_id=1: give all three, or none."
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--coordinator is '{coordinator}', expected host:port, as in host0:8476.")
    if not 0 <= process_id < num_processes:
        raise UserError(f"--process_id is {process_id}, expected 0 to {num_processes - 1}.")


def detect(environment: Mapping[str, str]) -> str | None:
    """Who started this process as one of several, in words; None where nobody did.

    >>> detect({"SLURM_STEP_NUM_TASKS": "4"})
    'Slurm'
    """
    # Only srun sets this; the batch script itself, which sees SLURM_NTASKS, would wait for the others for ever.
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return "Slurm"
    if int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        return "Open MPI"
    on_tpu = environment.get("JAX_PLATFORMS", "tpu").split(",")[0] == "tpu" and (
        glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    )
    if on_tpu and importlib.util.find_spec("libtpu"):
        return "the TPU"
    return None


def is_first() -> bool:
    """Whether this process is the one that writes and talks."""
    return jax.process_index() == 0


def on_first(function: Callable[[], T]) -> T:
    """What `function` gives in the first process, which alone calls it; its result is made of what JSON knows.

    Raises:
      UserError, RunFailed: it raised one there; all processes raise it.
    """
    if jax.process_count() == 1:
        return function()
    sent: dict[str, Any] = {}
    failure: Exception | None = None
    if is_first():
        try:
            sent["value"] = function()
        except (UserError, RunFailed) as error:
            failure, sent["error"], sent["kind"] = error, str(error), type(error).__name__
    sent = json.loads(_from_first(json.dumps(sent)))
    if failure is not None:
        raise failure
    if "error" in sent:
        raise (UserError if sent["kind"] == "UserError" else RunFailed)(sent["error"])
    return sent["value"]


def together(function: Callable[[], T]) -> T:
    """What `function` gives in this process, once it has succeeded in all of them.

    Raises:
      UserError: a process raised one; the first of them is raised in all, so that none waits for another in vain.
    """
    if jax.process_count() == 1:
        return function()
    result, message = None, ""
    try:
        result = function()
    except UserError as error:
        message = str(error)
    for number, found in enumerate(_of_all(message)):
        if found:
            raise UserError(found if number == 0 else f"In process {number}: {found}")
    return result  # type: ignore[return-value]


def _from_first(text: str) -> str:
    data = np.frombuffer(text.encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    sent = np.zeros(length, np.uint8)
    sent[: len(data)] = data[:length]
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(sent))).decode()


def _of_all(text: str) -> list[str]:
    """The texts of all processes, of which each is cut after 1,000 bytes."""
    # A name of a file that is not UTF-8 has characters that nothing but its own encoding takes.
    data = np.frombuffer(text.encode(errors="backslashreplace")[:1000].ljust(1000), np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(data))
    return [bytes(row).decode(errors="replace").rstrip() for row in rows.reshape(-1, 1000)]
