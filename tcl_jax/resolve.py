"""The seam for users' own parts: what a name in a config stands for, and which arguments a part asks for."""

import difflib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from tcl_jax.errors import UserError, in_short

# The attribute is an identifier, so that TFDS' "cifar10:3.0.2" is not taken for a part of the user's own.
_OWN = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<attribute>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)")


def is_own(name: str) -> bool:
    """Whether a name is "module:attribute", a part of the user's own."""
    return _OWN.fullmatch(name) is not None


def resolve(name: str, known: Mapping[str, Any], *, field: str, example: str) -> Any:
    """What `name` stands for: an entry of `known`, or for "module:attribute" that attribute of the user's own module.

    The module is looked for in the current folder first, then among the installed packages.

    Args:
      field: the config field that holds the name, for messages.
      example: what a part of the user's own looks like, for messages, as "encoder.py with def make(): ...".

    Raises:
      UserError: neither is there, or the module cannot be imported.

    >>> resolve("math:pi", {}, field="a.field", example="")
    3.141592653589793
    """
    if name in known:
        return known[name]
    own = _OWN.fullmatch(name)
    if own is None:
        raise UserError(
            f"{field} is {name!r}, expected one of {', '.join(known)}, or 'module:attribute' of your own ({example})."
        )
    if os.getcwd() not in sys.path:  # as `python -m` has it; a console command does not
        sys.path.insert(0, os.getcwd())
    try:
        part: Any = importlib.import_module(own["module"])
    except Exception as error:  # whatever a mistake in the user's file raises
        frame = traceback.extract_tb(error.__traceback__)[-1]
        inside = "" if "importlib" in frame.filename else f" in line {frame.lineno} of {frame.filename}"
        raise UserError(
            f"{field} is {name!r}, but its module cannot be imported ({in_short(error)}{inside}): correct it, or start "
            "in the folder that holds it."
        ) from error
    for attribute in own["attribute"].split("."):
        if not hasattr(part, attribute):
            near = difflib.get_close_matches(attribute, dir(part), n=1)
            raise UserError(
                f"{field} is {name!r}, but {own['module']} has no {attribute!r}"
                + (f": did you mean {near[0]!r}?" if near else ": define it there.")
            )
        part = getattr(part, attribute)
    return part


def arguments_of(
    part: Callable[..., Any], available: Mapping[str, Any], *, field: str, positional: int = 0
) -> dict[str, Any]:
    """Those of the `available` arguments that `part` names as parameters, for a call of it.

    Args:
      field: the config field that names the part, for messages.
      positional: number of its first parameters, which are given by position.

    Raises:
      UserError: it is not callable, or needs an argument that is not available.

    >>> arguments_of(lambda rows, labels, temperature=1.0: 0, {"temperature": 0.1, "k1": 5}, field="", positional=2)
    {'temperature': 0.1}
    """
    if not callable(part):
        raise UserError(f"{field} names a {type(part).__name__}, expected something that can be called.")
    try:
        parameters = list(inspect.signature(part).parameters.values())
    except ValueError:  # written in C
        return {}
    variadic = any(p.kind == p.VAR_POSITIONAL for p in parameters)
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = [p for p in parameters[positional:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    named = [p for p in rest if p.kind != p.POSITIONAL_ONLY]
    missing = [p.name for p in rest if p.default is p.empty and (p not in named or p.name not in available)]
    if missing or (len(by_position) < positional and not variadic):
        needs = f"needs {missing[0]!r}" if missing else f"takes {len(by_position)} arguments by position"
        place = f"{positional} arguments by position and " if positional else ""
        raise UserError(
            f"{field} names a function that {needs}, expected {place}by name any of {', '.join(available)}: give other "
            "parameters a default."
        )
    return {p.name: available[p.name] for p in named if p.name in available}
