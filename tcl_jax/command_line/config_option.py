"""--config=NAME and --config.FIELD=VALUE: one sentence for each mistake in flags, in a config and in its fields."""

import difflib
import itertools
import os
import pathlib
import sys
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from tcl_jax import config as experiments
from tcl_jax.errors import UserError
from tcl_jax.fields import flat_items


class ConfigOption:
    """The experiment of a command line; its file is executed once.

    Attributes:
      typed: what --config names; "" where it is not given.
      fields: all fields as the file gives them, by full names.
    """

    def __init__(self) -> None:
        self.typed = ""
        self.fields: dict[str, Any] = {}

    @property
    def config(self) -> ConfigDict:
        """The config of the file, with the fields that are typed."""
        return flags.FLAGS["config"].value

    @property
    def name(self) -> str:
        """Of the run, after the file and its argument.

        >>> option = ConfigOption()
        >>> option.typed = "mine/first.py:small"
        >>> option.name
        'first_small'
        """
        file, _, argument = self.typed.partition(":")
        return "_".join(filter(None, [pathlib.Path(file).stem, argument]))

    def parse(self, argv: list[str]) -> list[str]:
        """absl's parser, with one sentence for each mistake.

        Args:
          argv: the program and what is typed behind it.

        Raises:
          UserError: an unknown flag or config field, a value that it cannot have, a config that cannot be loaded or
            lacks a field.
        """
        named, fields, rest = _split(argv)
        if named is None:
            if fields:
                raise UserError(
                    f"--config.{fields[0]} is given without a config: name an experiment, as in --config=digits_tcl."
                )
            flags.DEFINE_string("config", None, "")
        else:
            if os.getcwd() not in sys.path:  # as `python -m` has it; a console command does not
                sys.path.insert(0, os.getcwd())
            config = experiments.load(named)
            for field in fields:
                _check_field(config, field)
            self.typed, self.fields = named, dict(flat_items(config))
            config_flags.DEFINE_config_dict("config", config, "", sys_argv=rest)
        try:
            return flags.FLAGS(rest)
        except SystemExit:  # of --helpfull, with absl's code 1
            raise SystemExit(0) from None
        except flags.Error as error:
            raise UserError(f"{error}.") from error


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
            raise UserError(f"--config.{field} is not a field of the config: {expected}.")
        node = node[name]
