"""The config of the experiment that a benchmark is about, from the command line."""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
flags.mark_flag_as_required("config")


def name() -> str:
    """That of the config's file, with its argument."""
    file, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    return "_".join(filter(None, [pathlib.Path(file).stem, argument]))


def arguments() -> list[str]:
    """What the command line says of the config, for main.py."""
    return [word for word in sys.argv[1:] if word.startswith("--config")]
