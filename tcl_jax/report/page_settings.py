"""How a run was made, for its page: settings, versions, devices, and the command that makes it again."""

import shlex
from collections.abc import Mapping
from typing import Any

from tcl_jax.report.html import Html, Section, element, folded, join, paragraph, table
from tcl_jax.report.page_curves import Part

_LINE = 72  # letters of a command that is one line


def command(file: str, base: Mapping[str, Any], config: Mapping[str, Any], workdir: str) -> str:
    """What to type to make the run again, for a POSIX shell.

    Args:
      file: what --config names.
      base: all fields that it gives, by their full names.
      config: those of the run.
      workdir: its folder.

    >>> print(command("configs/a.py", {"seed": 0, "model.width": 8}, {"seed": 1, "model.width": 8}, "a b"))
    python main.py --config=configs/a.py --config.seed=1 --workdir='a b'
    """
    changed = {name: value for name, value in config.items() if name not in base or base[name] != value}
    flags = {"config": file} | {f"config.{name}": value for name, value in changed.items()}
    words = ["python", "main.py", *(f"--{flag}={_quoted(value)}" for flag, value in flags.items())]
    words.append(f"--workdir={_quoted(workdir)}")
    line = " ".join(words)
    return line if len(line) <= _LINE else " \\\n    ".join([" ".join(words[:3]), *words[3:]])


def settings(
    config: Mapping[str, Any], defaults: Mapping[str, Any], results: Mapping[str, Any], again: str
) -> Part:
    """The section of a page.

    Args:
      config, defaults: values by full names of fields; in a field that has no default any value is shown as changed.
      results: of results.json.
      again: the command that makes the run again.
    """
    changed = [name for name in config if name not in defaults or config[name] != defaults[name]]
    rows = [(name, _shown(config[name]), _shown(defaults.get(name))) for name in changed]
    devices, versions = results["devices"], results["versions"]
    facts = [
        ("devices", f"{devices['count']} x {devices['kind']} ({devices['platform']})"),
        *versions.items(),
        ("parameters, SHA-256", element("code", results["params_sha256"])),
    ]
    body = join(
        element("h3", "Command"),
        element("pre", again, tabindex="0", role="region", aria_label="Command"),
        element("h3", "Config"),
        table(["field", "value", "default"], rows, caption="Fields that differ from their defaults")
        if rows
        else paragraph("All fields have their defaults."),
        folded(
            f"All {len(config)} fields",
            table(
                ["field", "value"], [(n, _shown(v)) for n, v in config.items()], caption="The whole config"
            ),
        ),
        element("h3", "Versions and devices"),
        table(["what", "which"], facts, caption="At the evaluation of the run"),
    )
    return Part(Section("settings", "How it was made", body), {})


def _shown(value: Any) -> Html:
    return element("code", "" if value is None else repr(value))


def _quoted(value: Any) -> str:
    return shlex.quote(str(value))
