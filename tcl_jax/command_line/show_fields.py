"""--mode=fields: every field of a config, with its value, its bounds and what config.py says of it."""

import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from tcl_jax import config as experiments
from tcl_jax.augment.policies import POLICIES
from tcl_jax.evaluate.metrics import METRICS
from tcl_jax.experiment.parts import bounds
from tcl_jax.fields import flat_items
from tcl_jax.models import ENCODERS
from tcl_jax.run.metrics_log import SINKS
from tcl_jax.train.learning_rate import SCHEDULES
from tcl_jax.train.objective import LOSSES
from tcl_jax.train.optimizer import OPTIMIZERS

# What parts are known by name; other words a comment lists.
_PARTS: dict[str, Iterable[str]] = {
    "augment.views": POLICIES,
    "evaluation.metrics": METRICS,
    "log.to": SINKS,
    "loss.name": LOSSES,
    "model.name": ENCODERS,
    "train.optimizer": OPTIMIZERS,
    "train.schedule": SCHEDULES,
    "validation.metric": METRICS,
}
_STATEMENT = re.compile(r"config\.([\w.]+) = [^#]*(?:# (.*))?")


def descriptions() -> dict[str, str]:
    """What the comments of `tcl_jax.config.defaults` say of each field, and of some groups of fields.

    >>> descriptions()["train.learning_rate"], descriptions()["log.every_steps"]
    ('peak', 'steps per record of metrics.jsonl')
    """
    found: dict[str, str] = {}
    above: list[str] = []
    for line in map(str.strip, inspect.getsource(experiments.defaults).splitlines()):
        statement = _STATEMENT.fullmatch(line)
        if statement:
            name, behind = statement.groups()
            found[name] = " ".join([*above, *filter(None, [behind])])
        above = [*above, line.removeprefix("# ")] if line.startswith("#") else []
    return found


def format_fields(config: ConfigDict, *, width: int = 100) -> str:
    """A text of all fields, in the order of config.py, by groups.

    >>> print(format_fields(experiments.load("digits_tcl")).split("\\n\\n")[0])
    seed = 0    (int, 0 to 4294967295)
        of initial values, order of examples and augmentation
    """
    said, limits = descriptions(), bounds()
    defaults = dict(flat_items(experiments.defaults()))
    # Of a run, whose config JSON has kept, tuples are lists.
    values = {name: tuple(x) if isinstance(x, list) else x for name, x in flat_items(config)}
    lines: list[str] = []
    last = ""
    for name in [*(name for name in said if name in values), *sorted(values.keys() - said.keys())]:
        group = name.rpartition(".")[0]
        if group != last:
            lines += ["", *_indented(f"{group}: {said[group]}" if said.get(group) else "", width, by="")]
            last = group
        value = values[name]
        default = defaults.get(name, value)
        facts = [_kind(default), limits.get(name, ""), "" if value == default else f"default {default!r}"]
        lines.append(f"{name} = {value!r}    ({', '.join(filter(None, facts))})")
        lines += _indented(said.get(name, ""), width)
        if name in _PARTS:
            lines += _indented(f"Known: {', '.join(_PARTS[name])}; or module:attribute of your own.", width)
    return "\n".join(lines).strip()


def _kind(value: Any) -> str:
    return "names" if isinstance(value, tuple) else type(value).__name__


def _indented(text: str, width: int, by: str = "    ") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=by, subsequent_indent=by)
