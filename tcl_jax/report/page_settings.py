"""How a run was made, for its page: settings, versions, devices, and the command that makes it again."""

import shlex
from collections.abc import Mapping
from typing import Any

_LINE = 72  # letters of a command that stays on one line


def command(program: str, file: str, base: Mapping[str, Any], config: Mapping[str, Any], workdir: str) -> str:
    """What to type to make the run again, for a POSIX shell.

    Args:
      program: how the command is started, as "tcl-jax".
      file: what --config names.
      base: all fields that it gives, by their full names.
      config: those of the run.
      workdir: its folder.

    >>> print(command("tcl-jax", "a.py", {"seed": 0, "model.width": 8}, {"seed": 1, "model.width": 8}, "a b"))
    tcl-jax --config=a.py --config.seed=1 --workdir='a b'
    """
    changed = {name: value for name, value in config.items() if name not in base or base[name] != value}
    flags = {"config": file} | {f"config.{name}": value for name, value in changed.items()}
    words = [program, *(f"--{flag}={_quoted(value)}" for flag, value in flags.items())]
    words.append(f"--workdir={_quoted(workdir)}")
    line = " ".join(words)
    return line if len(line) <= _LINE else " \\\n    ".join([" ".join(words[:2]), *words[2:]])


def settings(
    config: Mapping[str, Any], defaults: Mapping[str, Any], results: Mapping[str, Any], again: str
) -> dict[str, Any]:
    """What the section "settings" of a page shows.

    Args:
      config, defaults: values by full names of fields; in a field that has no default any value is shown as changed.
      results: of results.json.
      again: the command that makes the run again.
    """
    changed = [name for name in config if name not in defaults or config[name] != defaults[name]]
    return {
        "command": again,
        "changed": [
            (name, repr(config[name]), repr(defaults[name]) if name in defaults else "") for name in changed
        ],
        "fields": [(name, repr(value)) for name, value in config.items()],
        "devices": results["devices"],
        "versions": results["versions"],
        "params_sha256": results["params_sha256"],
        "init_from": results.get("init_from"),
    }


def _quoted(value: Any) -> str:
    return shlex.quote(str(value))
