"""From a command line to a mode, and from the way it ends to an exit code."""

import os
import pathlib
import shlex
import signal
import sys
import textwrap
import time
import traceback
import types
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from absl import app, logging
from ml_collections import ConfigDict

import tcl_jax
from tcl_jax import config as experiments
from tcl_jax.command_line import flags
from tcl_jax.command_line.config_option import ConfigOption
from tcl_jax.command_line.output import print_always
from tcl_jax.errors import DISK_FULL, Interrupted, RunFailed, UserError, WriteFailed
from tcl_jax.fields import flat_items

if TYPE_CHECKING:
    from tcl_jax.run.workdir import ConfigFile, Workdir

_BEGAN = time.monotonic()
_CONFIG = ConfigOption()
_NO_CONFIG = "No config is given: name an experiment, as in --config=digits_tcl; --help lists all."


def run() -> None:
    """Do what the command line says; it ends with exit code 0, 1, 2, 130 or 143, as docs/faults.md has them."""
    print_always()
    if flags.asks_for_help(sys.argv):
        print(flags.help_text(typed_program(sys.argv[0])))
        return
    if "--version" in sys.argv[1:]:
        print(f"tcl_jax {tcl_jax.__version__}")
        return
    if not os.environ.get("HOME"):  # an empty one would mean the root folder
        os.environ.pop("HOME", None)
    try:
        app.run(_main, flags_parser=_CONFIG.parse)
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


def _main(argv: list[str]) -> None:
    if argv[1:]:
        raise UserError(_not_a_flag(argv[1]))
    flags.check_flags()
    # The libraries' notes would cut the progress bar into pieces, and what they log of an error is raised as well.
    logging.set_verbosity(logging.FATAL)
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _print_unraisable
    # Orbax' writes of a checkpoint that go on after one of them failed.
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)
    mode = flags.MODE.value
    if mode == "fields":
        _show_fields()
        return
    if flags.PLAN_TOPOLOGY.value:
        from tcl_jax.plan import devices

        devices.prepare_environment()
    # Imported here, so that --help and a mistyped flag answer at once.
    from tcl_jax.command_line.start import start_jax

    start_jax(
        joining=(flags.COORDINATOR.value, flags.NUM_PROCESSES.value, flags.PROCESS_ID.value)
        if mode in flags.OF_ALL_PROCESSES
        else None,
        caches=mode not in ("plan", "compare"),  # a plan reads what only a fresh compilation has
    )
    _start_mode(mode)


def _not_a_flag(word: str) -> str:
    """What is wrong with a word without dashes, and what was probably meant.

    >>> _not_a_flag("export"), _not_a_flag("digits_tcl")
    ("'export' is not a flag: write --mode=export.", "'digits_tcl' is not a flag: write --config=digits_tcl.")
    """
    if word in flags.MODES:
        return f"'{word}' is not a flag: write --mode={word}."
    if word in experiments.known() or word.endswith(".py"):
        return f"'{word}' is not a flag: write --config={word}."
    return f"'{word}' is not a flag; set config fields with --config.train.epochs=3."


def _start_mode(mode: str) -> None:
    from tcl_jax.modes import compare, evaluate, export, plan, preview, report, sweep, train
    from tcl_jax.run.workdir import Workdir

    if mode == "compare":
        workdir = Workdir(flags.WORKDIR.value or "runs/comparison")
        compare.run(flags.WORKDIRS.value, workdir, program=typed_program(sys.argv[0]))
        return
    if mode == "export":
        export.run(_workdir_of_run(), checkpoint=flags.CHECKPOINT.value, format=flags.FORMAT.value)
        return
    config, workdir, name = _find_experiment()
    if mode == "train":
        train.run(
            config,
            workdir,
            name,
            config_file=_config_file(),
            profile_steps=flags.PROFILE_STEPS.value,
            began=_BEGAN,
        )
    elif mode == "sweep":
        sweep.run(config, workdir, name, flags.SWEEP.value, config_file=_config_file())
    elif mode == "evaluate":
        evaluate.run(config, workdir, name, checkpoint=flags.CHECKPOINT.value)
    elif mode == "report":
        report.run(config, workdir, name)
    elif mode == "preview":
        preview.run(config, workdir, name)
    else:
        plan.run(
            config,
            workdir if flags.WORKDIR.value else None,
            name,
            topology=flags.PLAN_TOPOLOGY.value,
            peak_share=flags.PLAN_PEAK_SHARE.value,
        )


def _show_fields() -> None:
    """Those of the config that --config or --workdir names, or of a config of defaults."""
    from tcl_jax.command_line.show_fields import format_fields

    named = _CONFIG.typed or flags.WORKDIR.value
    print(format_fields(_find_experiment()[0] if named else experiments.defaults()))


def typed_program(started: str) -> str:
    """What to type to start the command again, after sys.argv[0].

    >>> [typed_program(name) for name in ("/usr/bin/tcl-jax", "/lib/tcl_jax/__main__.py", "my code/main.py")]
    ['tcl-jax', 'python -m tcl_jax', "python 'my code/main.py'"]
    """
    path = pathlib.PurePath(started)
    if path.name == "__main__.py":
        return "python -m tcl_jax"
    return f"python {shlex.quote(started)}" if path.suffix == ".py" else path.stem


def _config_file() -> "ConfigFile":
    """Where the config is from, for the command on the page."""
    from tcl_jax.run.workdir import ConfigFile

    return ConfigFile(
        _CONFIG.typed, _CONFIG.fields, dict(flat_items(experiments.defaults())), typed_program(sys.argv[0])
    )


def _workdir_of_run() -> "Workdir":
    """The folder that --workdir names, or that of the config."""
    from tcl_jax.run.workdir import Workdir

    if flags.WORKDIR.value or _CONFIG.typed:
        ending = "_sweep" if flags.MODE.value == "sweep" else ""
        return Workdir(flags.WORKDIR.value or f"runs/{_CONFIG.name}{ending}")
    raise UserError(_NO_CONFIG)


def _find_experiment() -> "tuple[ConfigDict, Workdir, str]":
    """Config, folder and name of the run: of --config, or those with which the run in --workdir was started."""
    workdir = _workdir_of_run()
    if _CONFIG.typed:
        return _CONFIG.config, workdir, _CONFIG.name
    if flags.MODE.value in ("train", "sweep"):
        raise UserError(_NO_CONFIG)
    name, config = workdir.read_config()
    missing = set(dict(flat_items(experiments.defaults()))) - set(dict(flat_items(config)))
    if missing:
        raise UserError(
            f"The run in {workdir.path} was made by an older version, which did not know {sorted(missing)[0]}: "
            f"{flags.MODE.value} it with that version, or train it again with another --workdir."
        )
    return config, workdir, name


def _print_unraisable(failure: "sys.UnraisableHookArgs") -> None:
    """Leave out what Orbax' reads print that go on after one of a damaged checkpoint failed, which ends them all."""
    closed = "Event loop is closed" in str(failure.exc_value)
    if not closed and not isinstance(failure.object, types.CoroutineType):
        sys.__unraisablehook__(failure)


def _terminate(number: int, frame: types.FrameType | None) -> None:
    """SIGTERM outside of training and evaluation, which have handlers of their own, ends as Ctrl-C does."""
    raise KeyboardInterrupt(number)


def _fail(error: Exception, code: int) -> NoReturn:
    """Say what is wrong, and end."""
    jax: Any = sys.modules.get("jax")  # which a mistyped word need not wait for
    if jax is None or not jax.distributed.is_initialized():
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
