"""The members of a sweep: every combination of the values that are asked for."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from tcl_jax.errors import UserError
from tcl_jax.fields import brief
from tcl_jax.train.objective import find_loss

Axes = Mapping[str, tuple[float, ...]]
"""Values by config field, as {"loss.k1": (10.0, 100.0), "seed": (0, 1)}."""

# The step takes these as traced values: changing one compiles nothing anew.
_FIELDS = ("loss.k1", "loss.k2", "loss.temperature", "train.learning_rate", "seed")


class GridPoint(NamedTuple):
    """A member of a sweep: its name, as "k1=10_seed=0"; its values by field; the config with them."""

    name: str
    values: dict[str, float]
    config: ConfigDict


def parse_axes(given: Sequence[str], config: ConfigDict) -> Axes:
    """The axes of a sweep from words such as "loss.k1=10,100,1000", one for each field.

    Raises:
      UserError: a word of another form, a field that cannot be swept or has no effect on the loss of `config`, a value
        that is not a number of the field's kind, or a field or value that is there twice.
    """
    if not given:
        raise UserError(
            "Nothing is given to sweep: name fields and values, as in --sweep=loss.k1=10,100,1000."
        )
    effective = find_loss(config.loss.name).settings
    axes: dict[str, tuple[float, ...]] = {}
    for word in given:
        field, equals, values = word.partition("=")
        if not equals or not values:
            raise UserError(
                f"--sweep is '{word}', expected a field and values, as in --sweep=loss.k1=10,100,1000."
            )
        if field not in _FIELDS:
            raise UserError(
                f"'{field}' cannot be swept, expected one of {', '.join(_FIELDS)}: "
                "start a run for each value of another."
            )
        if field in axes:
            raise UserError(f"{field} is there twice in --sweep: name all its values at once.")
        if field.startswith("loss.") and field.removeprefix("loss.") not in effective:
            raise UserError(
                f"{field} has no effect on the loss '{config.loss.name}': leave it out of --sweep."
            )
        axes[field] = tuple(_number(field, value) for value in values.split(","))
        if len(set(axes[field])) < len(axes[field]):
            raise UserError(f"--sweep names a value of {field} twice ({values}): name each once.")
    return axes


def grid(config: ConfigDict, axes: Axes) -> list[GridPoint]:
    """Every combination of the values, the last field changing fastest.

    >>> config = ConfigDict({"loss": {"k1": 10.0}, "seed": 7})
    >>> [point.name for point in grid(config, {"loss.k1": (1.0, 50.0), "seed": (0, 1)})]
    ['k1=1_seed=0', 'k1=1_seed=1', 'k1=50_seed=0', 'k1=50_seed=1']
    """
    points = []
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        own = config.copy_and_resolve_references()
        own.update_from_flattened_dict(values)
        name = "_".join(f"{field.rpartition('.')[2]}={brief(value)}" for field, value in values.items())
        points.append(GridPoint(name, values, own))
    return points


def _number(field: str, text: str) -> float:
    kind = int if field == "seed" else float
    try:
        return kind(text)
    except ValueError as error:
        expected = "a whole number" if kind is int else "a number"
        raise UserError(f"'{text}' is given to --sweep for {field}, expected {expected}.") from error
