"""What is typed: one sentence for each mistake in flags, in a config file and in the names of its fields."""

import difflib
import itertools
import pathlib
import runpy
import textwrap
import traceback

from absl import flags
from ml_collections import ConfigDict

from tcl_jax.errors import UserError
from tcl_jax.fields import flat_items


def parse_flags(argv: list[str], *, complete: ConfigDict) -> list[str]:
    """absl's parser, with one sentence for each mistake.

    Args:
      argv: the program and what is typed behind it.
      complete: a config with every field that there is.

    Raises:
      UserError: an unknown flag or config field, a value that it cannot have, a config file that cannot be loaded or
        lacks a field.
    """
    given = {}
    for argument, following in itertools.pairwise([*argv[1:], ""]):  # --flag=value, or --flag value
        if argument.startswith("-"):
            flag, equals, value = argument.lstrip("-").partition("=")
            given[flag] = value if equals else following
    if "config" in given:
        config = _load_config(given["config"], complete)
        for flag in given:
            if flag.startswith("config."):
                _check_field(config, flag.removeprefix("config."))
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(f"{error}.") from error


def _load_config(name: str, complete: ConfigDict) -> ConfigDict:
    """The config of "file.py" or "file.py:argument", to find mistakes in it before absl words them its own way."""
    file, _, argument = name.partition(":")
    if not pathlib.Path(file).is_file():
        known = ", ".join(str(path) for path in sorted(pathlib.Path("configs").glob("[a-z]*_*.py")))
        raise UserError(f"There is no config file '{file}': expected {known or 'a Python file'}.")
    try:
        get_config = runpy.run_path(file)["get_config"]
        config = get_config(argument) if argument else get_config()
        missing = set(dict(flat_items(complete))) - set(dict(flat_items(config)))
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
