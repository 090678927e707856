"""Contrastive training of image encoders.

    python main.py --config=configs/digits_tcl.py
    python main.py --config=configs/cifar100_tcl.py --config.loss.name=supcon --workdir=runs/cifar100_supcon

Any field of the config can be set on the command line; configs/common.py lists them. A second start with the same
--workdir continues the run.
"""

import os
import pathlib
import signal
import sys
import tempfile
import textwrap
import time
import traceback
import types
import warnings
from typing import TYPE_CHECKING

from absl import app, flags, logging
from ml_collections import ConfigDict

from configs import common
from tcl_jax.command_line import ConfigOption, print_always
from tcl_jax.errors import DISK_FULL, Interrupted, RunFailed, UserError, WriteFailed
from tcl_jax.fields import flat_items
from tcl_jax.files import full_path, is_remote

if TYPE_CHECKING:
    from tcl_jax.run.workdir import Workdir

_BEGAN = time.monotonic()
_EXPERIMENTS = sorted(pathlib.Path("configs").glob("[a-z]*_*.py"))

_CONFIG = ConfigOption(common.get_config(), _EXPERIMENTS)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run. By default runs/<name of the config file>."
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "preview", "plan", "report", "compare", "sweep", "export"],
    "train: train, then evaluate. evaluate: evaluate a checkpoint. preview: a picture of what the network will see. "
    "plan: what a run would need, without training; written as plan.json where --workdir is given. report: the page of "
    "a run anew. compare: a page and tables of several runs. sweep: train a grid of runs in one program. export: the "
    "encoder as files that JAX and PyTorch load.",
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    "latest",
    ["latest", "best"],
    "With --mode=evaluate and export: which checkpoint. best: that with the highest metric of held-out images.",
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "safetensors",
    ["safetensors", "stablehlo"],
    "With --mode=export: safetensors: weights, which JAX and PyTorch load. stablehlo: a program from images to "
    "features, which JAX runs without this package.",
)
_PROFILE_STEPS = flags.DEFINE_integer(
    "profile_steps",
    0,
    "With --mode=train: number of training steps, after the first, to trace into the folder profile/ of the run.",
)
_PLAN_TOPOLOGY = flags.DEFINE_string(
    "plan_topology",
    "",
    "With --mode=plan: a TPU slice to plan for, none of which need be there, as v5e:2x4 (8 chips).",
)
_PLAN_PEAK_SHARE = flags.DEFINE_float(
    "plan_peak_share", 0.4, "With --mode=plan: share of the devices' peak FLOP/s that a step reaches."
)
_WORKDIRS = flags.DEFINE_list(
    "workdirs",
    [],
    "With --mode=compare: folders of runs, or of several runs each. The comparison goes to --workdir, runs/comparison "
    "where none is given.",
)
_SWEEP = flags.DEFINE_multi_string(
    "sweep",
    [],
    "With --mode=sweep: a field and its values, as loss.k1=10,100,1000; given several times, every combination is "
    "trained. Fields: loss.k1, loss.k2, loss.temperature, train.learning_rate, seed.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Several processes: host:port of process 0. Under Slurm, Open MPI and on TPU slices this and the next two are "
    "found automatically.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Several processes: how many. 1: this one alone, whatever the environment says."
)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Several processes: the number of this one, from 0.")

# Modes in which several processes work together.
_OF_ALL_PROCESSES = ["train", "evaluate", "report", "sweep"]

# Flags that mean something in some modes only.
_ONLY_WITH = {
    "checkpoint": ["evaluate", "export"],
    "format": ["export"],
    "profile_steps": ["train"],
    "plan_topology": ["plan"],
    "plan_peak_share": ["plan"],
    "workdirs": ["compare"],
    "sweep": ["sweep"],
    "coordinator": _OF_ALL_PROCESSES,
    "num_processes": _OF_ALL_PROCESSES,
    "process_id": _OF_ALL_PROCESSES,
}


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise UserError(f"'{argv[1]}' is not a flag; set config fields with --config.train.epochs=3.")
    for flag, modes in _ONLY_WITH.items():
        given = flags.FLAGS[flag]
        if given.value != given.default and _MODE.value not in modes:
            value = ",".join(given.value) if isinstance(given.value, list) else given.value
            raise UserError(
                f"--{flag}={value} is given with --mode={_MODE.value}, which has no use for it: "
                f"use it with --mode={' or '.join(modes)}."
            )
    if _PROFILE_STEPS.value < 0:
        raise UserError(f"--profile_steps is {_PROFILE_STEPS.value}, expected a number of steps, 0 or more.")
    # The libraries' notes would cut the progress bar into pieces, and what they log of an error is raised as well.
    logging.set_verbosity(logging.FATAL)
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _print_unraisable
    # Orbax' writes of a checkpoint that go on after one of them failed.
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)
    if _PLAN_TOPOLOGY.value:
        from tcl_jax.plan import devices

        devices.prepare_environment()
    _start_jax()
    # Imported here, so that --help and a mistyped flag answer at once.
    from tcl_jax.modes import compare, evaluate, export, plan, preview, report, sweep, train
    from tcl_jax.run.workdir import Workdir

    if _MODE.value == "compare":
        compare.run(_WORKDIRS.value, Workdir(_WORKDIR.value or "runs/comparison"))
        return
    if _MODE.value == "export":
        export.run(_workdir_of_run(), checkpoint=_CHECKPOINT.value, format=_FORMAT.value)
        return
    config, workdir, name = _find_experiment()
    if _MODE.value == "train":
        train.run(
            config,
            workdir,
            name,
            config_file=_CONFIG.file,
            profile_steps=_PROFILE_STEPS.value,
            began=_BEGAN,
        )
    elif _MODE.value == "sweep":
        sweep.run(config, workdir, name, _SWEEP.value, config_file=_CONFIG.file)
    elif _MODE.value == "evaluate":
        evaluate.run(config, workdir, name, checkpoint=_CHECKPOINT.value)
    elif _MODE.value == "report":
        report.run(config, workdir, name)
    elif _MODE.value == "preview":
        preview.run(config, workdir, name)
    else:
        written = workdir if _WORKDIR.value else None
        plan.run(config, written, name, topology=_PLAN_TOPOLOGY.value, peak_share=_PLAN_PEAK_SHARE.value)


def _workdir_of_run() -> "Workdir":
    """The folder that --workdir names, or that of the config."""
    from tcl_jax.run.workdir import Workdir

    if _WORKDIR.value or _CONFIG.file is not None:
        ending = "_sweep" if _MODE.value == "sweep" else ""
        return Workdir(_WORKDIR.value or f"runs/{_CONFIG.name}{ending}")
    raise UserError("No config is given: name an experiment, as in --config=configs/digits_tcl.py.")


def _find_experiment() -> "tuple[ConfigDict, Workdir, str]":
    """Config, folder and name of the run: of --config, or those with which the run in --workdir was started."""
    workdir = _workdir_of_run()
    if _CONFIG.file is not None:
        return _CONFIG.config, workdir, _CONFIG.name
    if _MODE.value in ("train", "sweep"):
        raise UserError("No config is given: name an experiment, as in --config=configs/digits_tcl.py.")
    name, config = workdir.read_config()
    missing = set(dict(flat_items(common.get_config()))) - set(dict(flat_items(config)))
    if missing:
        raise UserError(
            f"The run in {workdir.path} was made by an older version, which did not know {sorted(missing)[0]}: "
            f"{_MODE.value} it with that version, or train it again with another --workdir."
        )
    return config, workdir, name


def _print_unraisable(failure: "sys.UnraisableHookArgs") -> None:
    """Leave out what Orbax' reads print that go on after one of a damaged checkpoint failed, which ends them all."""
    closed = "Event loop is closed" in str(failure.exc_value)
    if not closed and not isinstance(failure.object, types.CoroutineType):
        sys.__unraisablehook__(failure)


def _start_jax() -> None:
    """Join the other processes of the run, if there are any; and keep compiled programs for the next start."""
    import jax

    from tcl_jax import processes

    if _MODE.value in _OF_ALL_PROCESSES:
        processes.start(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    if not processes.is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8", errors="replace")  # noqa: SIM115 (until the process ends)
        os.environ["TQDM_DISABLE"] = "1"
    # A plan reads what only a fresh compilation has; a comparison compiles nothing.
    if _MODE.value in ("plan", "compare"):
        jax.config.update("jax_enable_compilation_cache", False)
        return
    try:
        cache = _make_cache()
    except (UserError, OSError) as error:
        jax.config.update("jax_enable_compilation_cache", False)
        if processes.is_first():
            cause = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else "no home folder"
            variable = (
                "JAX_COMPILATION_CACHE_DIR" if "JAX_COMPILATION_CACHE_DIR" in os.environ else "XDG_CACHE_HOME"
            )
            print(
                f"Compiled programs are not kept for the next start ({cause}): set {variable} to a folder that can be "
                "written.",
                file=sys.stderr,
            )
    else:
        jax.config.update("jax_compilation_cache_dir", cache)


def _make_cache() -> str:
    """The folder of compiled programs, which can be written.

    Raises:
      UserError, OSError: there is none.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")  # which JAX itself reads
    if given and is_remote(given):
        return given
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(caches):  # which is to be ignored, its specification says
        caches = "~/.cache"
    folder = full_path(given or f"{caches}/tcl_jax", "the folder of caches")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return str(folder)


def _terminate(number: int, frame: types.FrameType | None) -> None:
    """SIGTERM outside of training and evaluation, which have handlers of their own, ends as Ctrl-C does."""
    raise KeyboardInterrupt(number)


def _entry() -> None:
    print_always()
    if not os.environ.get("HOME"):  # an empty one would mean the root folder
        os.environ.pop("HOME", None)
    try:
        app.run(main, flags_parser=_CONFIG.parse)
    except UserError as error:
        _fail(error, 2)
    except RunFailed as error:
        _fail(error, 1)
    except Interrupted as error:
        print(error, file=sys.stderr)
        sys.exit(128 + error.signal)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            _fail(WriteFailed(str(error.filename or "The output"), error), 1)
        _leave_others(error)
        raise
    except KeyboardInterrupt as error:
        name, number = ("SIGTERM", signal.SIGTERM) if error.args else ("Ctrl-C", signal.SIGINT)
        print(f"Stopped by {name}: repeat the command to continue from the last checkpoint.", file=sys.stderr)
        sys.exit(128 + number)


def _fail(error: Exception, code: int) -> None:
    """Say what is wrong, and end."""
    import jax

    if not jax.distributed.is_initialized():
        print(f"error: {error}", file=sys.stderr)
        sys.exit(code)
    print(f"error in process {jax.process_index()}: {error}", file=sys.stderr, flush=True)
    # The usual way out would wait for the other processes, which may be waiting for this one.
    os._exit(code)


def _leave_others(error: Exception) -> None:
    """Of several processes, end this one at once; an error of JAX is then most likely that another one has ended."""
    import jax

    if not jax.distributed.is_initialized():
        return
    if isinstance(error, jax.errors.JaxRuntimeError):
        cause = textwrap.shorten(str(error), width=160, placeholder=" ...")
        message = (
            "This process cannot go on with the others, of which one has probably ended; look for its message"
        )
        _fail(RunFailed(f"{message} ({cause}): start all again to continue from the last checkpoint."), 1)
    traceback.print_exception(error)
    os._exit(1)


if __name__ == "__main__":
    _entry()
