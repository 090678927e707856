"""What is typed: one sentence for each mistake in flags, in a config file and in the names of its fields.

And what is printed: it never ends a run.
"""

import difflib
import errno
import io
import itertools
import os
import pathlib
import runpy
import sys
import textwrap
import traceback
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from tcl_jax.errors import UserError
from tcl_jax.fields import flat_items
from tcl_jax.run.workdir import ConfigFile


class ConfigOption:
    """--config=FILE and --config.FIELD=VALUE. The file is executed once.

    Args:
      complete: a config with every field that there is.
      known: the files that messages name.

    Attributes:
      file: what the file gives; None where none is named.
      name: of the run, after the file.
    """

    def __init__(self, complete: ConfigDict, known: Sequence[pathlib.Path] = ()):
        self._complete, self._known = complete, known
        self.file: ConfigFile | None = None
        self.name = ""

    @property
    def config(self) -> ConfigDict:
        """The config of the file, with the fields that are typed."""
        return flags.FLAGS["config"].value

    def parse(self, argv: list[str]) -> list[str]:
        """absl's parser, with one sentence for each mistake.

        Args:
          argv: the program and what is typed behind it.

        Raises:
          UserError: an unknown flag or config field, a value that it cannot have, a config file that cannot be loaded
            or lacks a field.
        """
        named, fields, rest = _split(argv)
        about = (
            "The experiment: a file such as configs/digits_tcl.py. --config.FIELD=VALUE sets a field of it."
        )
        if named is None:
            if fields:
                raise UserError(
                    f"--config.{fields[0]} is given without a config: name an experiment, as in "
                    "--config=configs/digits_tcl.py."
                )
            flags.DEFINE_string("config", None, about)
        else:
            config = self._load(named)
            for field in fields:
                _check_field(config, field)
            self.file = ConfigFile(named, dict(flat_items(config)), dict(flat_items(self._complete)))
            file, _, argument = named.partition(":")
            self.name = "_".join(filter(None, [pathlib.Path(file).stem, argument]))
            config_flags.DEFINE_config_dict("config", config, about, sys_argv=rest)
        try:
            return flags.FLAGS(rest)
        except SystemExit:  # of --help, with absl's code 1
            raise SystemExit(0) from None
        except flags.Error as error:
            raise UserError(f"{error}.") from error

    def _load(self, name: str) -> ConfigDict:
        """The config of "file.py" or "file.py:argument"."""
        file, _, argument = name.partition(":")
        if not pathlib.Path(file).is_file():
            known = ", ".join(str(path) for path in self._known)
            raise UserError(
                f"There is no config file '{os.path.abspath(file)}': expected {known or 'a Python file'}."
            )
        try:
            get_config = runpy.run_path(file)["get_config"]
            config = get_config(argument) if argument else get_config()
            missing = set(dict(flat_items(self._complete))) - set(dict(flat_items(config)))
        except UserError:
            raise
        except Exception as error:  # whatever a mistake in the file raises
            inside = [
                frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file
            ]
            place = f" in line {inside[-1]}" if inside else ""
            cause = textwrap.shorten(f"{type(error).__name__}: {error}", width=160, placeholder=" ...")
            raise UserError(
                f"The config file '{file}' cannot be loaded ({cause}{place}): correct it."
            ) from error
        if missing:
            raise UserError(
                f"The config file '{file}' lacks {sorted(missing)[0]}: begin with configs/common.py."
            )
        return config


def _split(argv: list[str]) -> tuple[str | None, list[str], list[str]]:
    """What --config names, the fields that --config.FIELD sets, and the command line without the former."""
    named, fields, rest = None, [], []
    words = iter(itertools.pairwise([*argv, ""]))
    for word, following in words:
        flag, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and flag == "config":  # --config=FILE, or --config FILE
            named = value if equals else following
            if not equals:
                next(words, None)
            continue
        if word.startswith("-") and flag.startswith("config."):
            fields.append(flag.removeprefix("config."))
        rest.append(word)
    return named, fields, rest


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


def print_always() -> None:
    """From here on stdout and stderr take everything, in any locale and whoever has ceased to read them.

    What the encoding lacks is printed as \\xe9. What goes into a pipe whose other end is closed, as by `| head`, or to
    a terminal that is gone is dropped, and the program goes on: a run saves what it has trained.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started the program
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (until the process ends)
            continue
        stream.flush()
        output: Any = _Output(stream.fileno(), "w", closefd=False)
        text = io.TextIOWrapper(
            output if stream.write_through else io.BufferedWriter(output),
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, text)


class _Output(io.FileIO):
    """A file descriptor that becomes that of os.devnull when nobody reads it any more."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)
