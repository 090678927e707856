"""Every flag but those of the config, and --help, which lists all of them."""

import re
import shutil
import textwrap
from collections.abc import Iterable

from absl import flags

from tcl_jax import config as experiments
from tcl_jax.errors import UserError

MODES = {
    "train": "Train, evaluate, write the page (the default). Again: continue.",
    "evaluate": "Evaluate a checkpoint again, also on other data.",
    "preview": "Draw what the network will see.",
    "plan": "What a run would need; into plan.json with --workdir.",
    "report": "Write the page of a run anew.",
    "compare": "A page and tables of several runs.",
    "sweep": "Train a grid of runs in one program.",
    "export": "The encoder as files that JAX and PyTorch load.",
    "fields": "Every field of a config: value, bounds, meaning.",
}

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; runs/NAME unless given.")
MODE = flags.DEFINE_enum("mode", "train", list(MODES), "What to do, as above.")
CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    "latest",
    ["latest", "best"],
    "best: that with the highest metric of held-out images.",
)
FORMAT = flags.DEFINE_enum(
    "format",
    "safetensors",
    ["safetensors", "stablehlo"],
    "Weights, for JAX and PyTorch; or a program, which JAX runs without this package.",
)
PROFILE_STEPS = flags.DEFINE_integer(
    "profile_steps",
    0,
    "Training steps to trace into the folder profile/ of the run.",
)
PLAN_TOPOLOGY = flags.DEFINE_string(
    "plan_topology", "", "A TPU slice to plan for, which need not be there, as v5e:2x4."
)
PLAN_PEAK_SHARE = flags.DEFINE_float(
    "plan_peak_share", 0.4, "Share of the peak FLOP/s that a step reaches; 0.4 unless given."
)
WORKDIRS = flags.DEFINE_list(
    "workdirs",
    [],
    "Folders of runs, or of several runs each. --workdir is runs/comparison unless given.",
)
SWEEP = flags.DEFINE_multi_string(
    "sweep",
    [],
    "loss.k1, loss.k2, loss.temperature, train.learning_rate or seed, and its values, as loss.k1=10,100; given several "
    "times, every combination is trained.",
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Of process 0. Slurm, Open MPI and TPU slices need none of the three.",
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "1: this one alone, whatever the environment says."
)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "The number of this one, from 0.")

# Modes in which several processes work together.
OF_ALL_PROCESSES = ["train", "evaluate", "report", "sweep"]
_PROCESSES = ["coordinator", "num_processes", "process_id"]

# Flags that mean something in some modes only.
_ONLY_WITH = {
    "workdirs": ["compare"],
    "sweep": ["sweep"],
    "checkpoint": ["evaluate", "export"],
    "format": ["export"],
    "profile_steps": ["train"],
    "plan_topology": ["plan"],
    "plan_peak_share": ["plan"],
    **dict.fromkeys(_PROCESSES, OF_ALL_PROCESSES),
}

_VALUES = {
    "workdir": "FOLDER",
    "workdirs": "FOLDER,...",
    "sweep": "FIELD=VALUE,...",
    "plan_topology": "SLICE",
    "coordinator": "HOST:PORT",
}


def check_flags() -> None:
    """Refuse flags that the mode has no use for, and numbers out of range.

    Raises:
      UserError: such a flag.
    """
    for flag, modes in _ONLY_WITH.items():
        given = flags.FLAGS[flag]
        if given.value != given.default and MODE.value not in modes:
            value = ",".join(given.value) if isinstance(given.value, list) else given.value
            raise UserError(
                f"--{flag}={value} is given with --mode={MODE.value}, which has no use for it: "
                f"use it with --mode={' or '.join(modes)}."
            )
    if PROFILE_STEPS.value < 0:
        raise UserError(f"--profile_steps is {PROFILE_STEPS.value}, expected a number of steps, 0 or more.")


def asks_for_help(argv: list[str]) -> bool:
    """Whether a command line has --help; --helpfull, with the flags of libraries, is absl's.

    >>> asks_for_help(["tcl-jax", "--mode=train", "-h"]), asks_for_help(["tcl-jax", "--", "--help"])
    (True, False)
    """
    words = argv[: argv.index("--")] if "--" in argv else argv
    return any(word.startswith("-") and word.lstrip("-") in ("h", "?", "help", "helpshort") for word in words)


def help_text(program: str, width: int | None = None) -> str:
    """What --help prints.

    Args:
      program: how the command was started, as "tcl-jax".
      width: letters of a line; None: of the terminal.
    """
    width = max(60, min(width or shutil.get_terminal_size().columns, 110))
    names = ", ".join(experiments.known())
    own = [
        (
            "--config=NAME",
            f"{names}; smoke:NAME, which is small; or a file of your own, as mine.py.",
        ),
        ("--config.FIELD=VALUE", "Set a field of it. --mode=fields lists them."),
    ]
    special = [name for name in _ONLY_WITH if name not in _PROCESSES]
    blocks = [
        "Contrastive training of image encoders in JAX.",
        _examples(program),
        _block("Modes, by --mode=MODE", MODES.items(), width),
        _block("The run", [*own, _row("workdir")], width),
        _block("In some modes only", map(_row, special), width),
        _block(f"Several processes ({', '.join(OF_ALL_PROCESSES)})", map(_row, _PROCESSES), width),
    ]
    return "\n\n".join(blocks)


def _examples(program: str) -> str:
    lines = (
        "--config=digits_tcl",
        "--config=digits_tcl --config.loss.name=supcon --workdir=runs/b",
        "--mode=compare --workdirs=runs/digits_tcl,runs/b",
    )
    return "\n".join(f"    {program} {line}" for line in lines)


def _row(name: str) -> tuple[str, str]:
    flag = flags.FLAGS[name]
    choices = getattr(flag.parser, "enum_values", None)
    value = _VALUES.get(name) or ("|".join(choices) if choices else "NUMBER")
    meaning = re.sub(r"^<.*?>: |;\s+repeat this option.*", "", flag.help)  # what absl adds
    modes = "" if name in _PROCESSES or name not in _ONLY_WITH else f"{', '.join(_ONLY_WITH[name])}: "
    return f"--{name}={value}", modes + meaning


def _block(title: str, rows: Iterable[tuple[str, str]], width: int) -> str:
    """A title, and under it words beside their meaning, on a line of their own where they are long."""
    column, lines = 26, [f"{title}:"]
    for word, meaning in rows:
        wrapped = textwrap.wrap(meaning, width - column)
        head = f"  {word}"
        if len(head) < column:
            head += " " * (column - len(head)) + wrapped.pop(0)
        lines += [head, *(" " * column + line for line in wrapped)]
    return "\n".join(lines)
