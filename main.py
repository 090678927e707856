"""Contrastive training of image encoders.

    python main.py --config=configs/digits_tcl.py
    python main.py --config=configs/cifar100_tcl.py --config.loss.name=supcon --workdir=runs/cifar100_supcon

Any field of the config can be set on the command line; configs/common.py lists them. A second start with the same
--workdir continues the run.
"""

import difflib
import itertools
import pathlib
import runpy
import sys
import textwrap
import traceback

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from configs import common
from tcl_jax.errors import Interrupted, RunFailed, UserError
from tcl_jax.modes.fields import flat_items

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment: a file in configs/.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run. By default runs/<name of the config file>."
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "preview"],
    "train: train, then evaluate. evaluate: evaluate a checkpoint. preview: a picture of what the network will see.",
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    "latest",
    ["latest", "best"],
    "With --mode=evaluate: which checkpoint. best: that with the highest kNN accuracy of the held-out images.",
)
_PROFILE_STEPS = flags.DEFINE_integer(
    "profile_steps",
    0,
    "With --mode=train: trace so many training steps, after the first, into the folder profile/ of the run.",
)


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise UserError(f"'{argv[1]}' is no flag: a config field is set as in --config.train.epochs=3.")
    if _MODE.value != "evaluate" and _CHECKPOINT.value != "latest":
        evaluated = "the latest" if _MODE.value == "train" else "none"
        raise UserError(
            f"--checkpoint={_CHECKPOINT.value} is given with --mode={_MODE.value}, which evaluates {evaluated}: "
            "use it with --mode=evaluate."
        )
    if _PROFILE_STEPS.value < 0:
        raise UserError(f"--profile_steps is {_PROFILE_STEPS.value}, expected a number of steps, 0 or more.")
    if _MODE.value != "train" and _PROFILE_STEPS.value:
        raise UserError(
            f"--profile_steps={_PROFILE_STEPS.value} is given with --mode={_MODE.value}, which trains nothing: "
            "use it with --mode=train."
        )
    logging.set_verbosity(logging.ERROR)  # the libraries' notes would cut the progress bar into pieces
    # Imported here, so that --help and a mistyped flag answer at once.
    from tcl_jax.modes import evaluate, preview, train
    from tcl_jax.modes.workdir import Workdir

    if flags.FLAGS["config"].present:
        config = _CONFIG.value
        file, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
        name = "_".join(filter(None, [pathlib.Path(file).stem, argument]))
        workdir = Workdir(_WORKDIR.value or f"runs/{name}")
    elif _MODE.value != "train" and _WORKDIR.value:
        workdir = Workdir(_WORKDIR.value)
        name, config = workdir.read_config()
        missing = set(dict(flat_items(common.get_config()))) - set(dict(flat_items(config)))
        if missing:
            raise UserError(
                f"The run in {workdir.path} was made by an older version, which did not know {sorted(missing)[0]}: "
                f"{_MODE.value} it with that version, or train it again with another --workdir."
            )
    else:
        raise UserError("No config is given: name an experiment, as in --config=configs/digits_tcl.py.")
    if _MODE.value == "train":
        train.run(config, workdir, name, profile_steps=_PROFILE_STEPS.value)
    elif _MODE.value == "preview":
        preview.run(config, workdir, name)
    else:
        evaluate.run(config, workdir, name, checkpoint=_CHECKPOINT.value)


def _parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, with one sentence for each mistake."""
    given = {}
    for argument, following in itertools.pairwise([*argv[1:], ""]):  # --flag=value, or --flag value
        if argument.startswith("-"):
            flag, equals, value = argument.lstrip("-").partition("=")
            given[flag] = value if equals else following
    if "config" in given:
        config = _load_config(given["config"])
        for flag in given:
            if flag.startswith("config."):
                _check_field(config, flag.removeprefix("config."))
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(f"{error}.") from error


def _load_config(name: str) -> ConfigDict:
    """The config of "file.py" or "file.py:argument", to find mistakes in it before absl words them its own way."""
    file, _, argument = name.partition(":")
    if not pathlib.Path(file).is_file():
        known = ", ".join(str(path) for path in sorted(pathlib.Path("configs").glob("[a-z]*_*.py")))
        raise UserError(f"There is no config file '{file}': expected {known or 'a Python file'}.")
    try:
        get_config = runpy.run_path(file)["get_config"]
        config = get_config(argument) if argument else get_config()
        missing = set(dict(flat_items(common.get_config()))) - set(dict(flat_items(config)))
    except UserError:
        raise
    except Exception as error:  # whatever a mistake in the file raises
        inside = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file
        ]
        place = f" in line {inside[-1]}" if inside else ""
        cause = textwrap.shorten(f"{type(error).__name__}: {error}", width=160, placeholder=" ...")
        raise UserError(f"The config file '{file}' cannot be loaded ({cause}{place}): correct it.") from error
    if missing:
        raise UserError(f"The config file '{file}' lacks {sorted(missing)[0]}: begin with configs/common.py.")
    return config


def _check_field(config: ConfigDict, field: str) -> None:
    """Refuse a field that the config does not have, naming those that it has in that place."""
    node, *path = config, *field.split(".")
    for depth, name in enumerate(path):
        if not isinstance(node, ConfigDict) or name not in node:
            place = ".".join(path[:depth]) or "the config"
            known = sorted(node) if isinstance(node, ConfigDict) else []
            nearest = difflib.get_close_matches(name, known, n=1) or known
            expected = f"{place} has {', '.join(nearest)}" if nearest else f"{place} has no fields"
            raise UserError(f"There is no config field '{field}': {expected}.")
        node = node[name]


def _entry() -> None:
    try:
        app.run(main, flags_parser=_parse_flags)
    except UserError as error:
        sys.exit(_say(error, 2))
    except RunFailed as error:
        sys.exit(_say(error, 1))
    except Interrupted as error:
        print(error, file=sys.stderr)
        sys.exit(128 + error.signal)
    except KeyboardInterrupt:
        print("Stopped by Ctrl-C: repeat the command to continue from the last checkpoint.", file=sys.stderr)
        sys.exit(130)


def _say(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    _entry()
