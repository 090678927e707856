"""What a program costs: the products of a traced function, and what a compiled one exchanges between devices."""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np


def product_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations in the matrix products and convolutions of function(*arguments).

    A multiplication and an addition are two operations. Products with the zeros of a convolution's padding are not
    counted, as XLA does not count them. A scan counts for each of its steps, a condition with its costliest branch.

    Args:
      arguments: arrays or `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: products inside of a while loop, which may run any number of times.

    >>> product_flops(lambda x: x @ x.T, np.zeros((3, 5)))
    90
    """
    return _flops_in(jax.make_jaxpr(function)(*arguments).jaxpr)


def _flops_in(jaxpr: Any) -> int:
    return sum(_flops_of(equation) for equation in jaxpr.eqns)


def _flops_of(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    shapes = [variable.aval.shape for variable in (*equation.invars, *equation.outvars)]
    if name == "dot_general":
        left, _, out = shapes
        ((contracted, _), _) = params["dimension_numbers"]
        return 2 * math.prod(out) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        image, kernel, out = shapes
        numbers = params["dimension_numbers"]
        places = math.prod(
            _valid_places(image[i], kernel[k], out[o], stride, low, spread, dilation)
            for i, k, o, stride, (low, _), spread, dilation in zip(
                numbers.lhs_spec[2:],
                numbers.rhs_spec[2:],
                numbers.out_spec[2:],
                params["window_strides"],
                params["padding"],
                params["lhs_dilation"],
                params["rhs_dilation"],
                strict=True,
            )
        )
        batch, channels = (out[axis] for axis in numbers.out_spec[:2])
        return 2 * batch * channels * kernel[numbers.rhs_spec[1]] * places
    inner = [_flops_in(sub) for value in params.values() for sub in _jaxprs(value)]
    if name == "while" and any(inner):
        raise ValueError("products inside of a while loop cannot be counted.")
    if name == "cond":
        return max(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _jaxprs(value: Any) -> Iterator[Any]:
    """The programs in a parameter of an equation: one, with its constants or without, or several."""
    for item in value if isinstance(value, tuple | list) else (value,):
        item = getattr(item, "jaxpr", item)
        if hasattr(item, "eqns"):
            yield item


def _valid_places(
    image: int, kernel: int, out: int, stride: int, padding: int, spread: int, dilation: int
) -> int:
    """Pairs of an output and a kernel position, along one axis, that meet a pixel and no padding."""
    place = np.arange(out)[:, None] * stride + np.arange(kernel) * dilation - padding
    return int(np.sum((place >= 0) & (place <= (image - 1) * spread) & (place % spread == 0)))


# Names of instructions in the text of a compiled program.
_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_ARRAY = r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]"  # f32[128,64]


class _Started(NamedTuple):
    """A collective. `part_of`: the channel of one that XLA does in parts, in several places, beside other work."""

    kind: str
    bytes: int
    part_of: str | None


class Traffic(NamedTuple):
    """What one kind of collective does.

    Attributes:
      bytes: of the results on one device: of an all-gather the rows of all devices, of an all-reduce the sums once.
      operations: how many are started.
    """

    bytes: int
    operations: int


def collectives(hlo: str, *, costliest: bool = False) -> dict[str, Traffic]:
    """The collectives by kind, as "all-gather", in the text of a compiled program (`Compiled.as_text()`).

    What a device would exchange with itself alone is left out. What is inside of a loop counts as often as the loop
    runs, which XLA writes down; what is done in parts, in a loop or not, counts once.

    Args:
      costliest: of the branches of a condition the one with the most bytes counts, else the one with the fewest.

    Raises:
      ValueError: a loop around collectives whose length XLA does not know.
    """
    entry, computations = _parse(hlo)

    def started(name: str) -> list[_Started]:
        """Each collective that a computation starts, those of all that it calls included."""
        found: list[_Started] = []
        for type_, opcode, text in computations.get(name, []):
            kind = opcode.removesuffix("-start")
            if kind in _COLLECTIVES:
                one = _Started(kind, _result_bytes(type_, opcode), _part_of(text))
                found += [] if _is_alone(text) else [one]
            elif opcode == "while":
                inside = started(_names("body", text)[0])
                again = [one for one in inside if one.part_of is None]
                found += inside + (again * (_trips(text) - 1) if again else [])
            elif opcode == "conditional":
                names = _names("branch_computations|true_computation|false_computation", text)
                branches = sorted(map(started, names), key=lambda branch: sum(one.bytes for one in branch))
                found += branches[-1 if costliest else 0]
            elif not opcode.endswith(("-done", "-update")):  # the -start has counted
                for called in _names("calls|to_apply", text):
                    found += started(called)
        return [one for i, one in enumerate(found) if one.part_of is None or one not in found[:i]]

    all_started = started(entry)
    by_kind = {kind: [one.bytes for one in all_started if one.kind == kind] for kind in _COLLECTIVES}
    return {kind: Traffic(sum(sizes), len(sizes)) for kind, sizes in by_kind.items() if sizes}


def _parse(hlo: str) -> tuple[str, dict[str, list[tuple[str, str, str]]]]:
    """Name of the entry, and of every computation its instructions: type of the result, opcode, and the rest."""
    entry, current = "", ""
    computations: dict[str, list[tuple[str, str, str]]] = {}
    for line in hlo.splitlines():
        if header := re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line):
            current = header[2]
            entry = current if header[1] else entry
        line = re.sub(r"(?<=\])\{[^}]*\}", "", line)  # the layouts of arrays
        if instruction := re.match(r"\s+(?:ROOT )?%?[\w.\-]+ = (.*?) ([a-z][\w\-]*)\((.*)", line):
            computations.setdefault(current, []).append((instruction[1], instruction[2], instruction[3]))
    return entry, computations


def _names(attribute: str, text: str) -> list[str]:
    """The computations that an attribute names, as in "body=%a" or "branch_computations={%a, %b}"."""
    found = re.findall(rf"(?:{attribute})=(?:\{{([^}}]*)\}}|([\w.\-%]+))", text)
    return [name.strip(" %") for several, one in found for name in (several or one).split(",")]


def _trips(text: str) -> int:
    known = re.search(r'"known_trip_count":\{[^}]*"n":"(\d+)"', text)
    if known is None:
        raise ValueError("a loop with collectives inside has no known length.")
    return int(known[1])


def _part_of(text: str) -> str | None:
    channel = re.search(r"channel_id=(\d+)", text)
    return channel[1] if channel and "chain_id=" in text else None


def _is_alone(text: str) -> bool:
    """Whether each device is in a group of its own, as in {{0},{1}} and [2,1]<=[2]."""
    return re.search(r"replica_groups=(?:\{\{\d+\}|\[\d+,1\])", text) is not None


def _result_bytes(type_: str, opcode: str) -> int:
    """Bytes of a collective's result; begun asynchronously, all kinds but one give (operands, results, ...)."""
    if opcode.endswith("-start") and opcode != "all-reduce-start":
        _, found, *_ = re.finditer(rf"\([^()]*\)|{_ARRAY}", type_[1:-1])
        type_ = found[0]
    bits = (
        (8 if name == "pred" else int(width)) * math.prod(map(int, filter(None, sides.split(","))))
        for name, width, sides in re.findall(_ARRAY, type_)
    )
    return sum(-(-count // 8) for count in bits)
