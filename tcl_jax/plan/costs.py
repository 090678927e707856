"""What a program costs, read from the program: products of a traced function, exchange of a compiled one."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)


def product_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations in the matrix products and convolutions of function(*arguments).

    A multiplication and an addition are two operations. Products with the zeros of a convolution's padding are not
    counted, as XLA does not count them. Loops are refused, as their products would be counted once.

    Args:
      arguments: arrays or `jax.ShapeDtypeStruct`.

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
    inner = [sub for value in params.values() for sub in _jaxprs(value)]
    if name in ("scan", "while", "cond") and any(_flops_in(sub) for sub in inner):
        raise ValueError(f"products inside of a {name} cannot be counted.")
    return sum(_flops_in(sub) for sub in inner)


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


class Traffic(NamedTuple):
    """What one kind of collective does.

    Attributes:
      bytes: of the results on one device: of an all-gather the rows of all devices, of an all-reduce the sums once.
      operations: how many are started.
    """

    bytes: int
    operations: int


class Collectives(NamedTuple):
    """The collectives of a step by their kind, as "all-gather".

    Attributes:
      always: of every step.
      at_most: where every condition takes its dearer branch, such as that of a step with diagnostics.
    """

    always: dict[str, Traffic]
    at_most: dict[str, Traffic]


def collectives(hlo: str) -> Collectives:
    """The collectives in the text of a compiled program (`Compiled.as_text()`).

    What a device would exchange with itself alone is left out. What is inside of a loop counts as often as the loop
    runs, which XLA writes down. Of the branches of a condition the one with the fewest bytes of a kind counts in
    `always`, the one with the most in `at_most`.

    Raises:
      ValueError: a loop around collectives whose length XLA does not know.
    """
    entry, computations = _computations(hlo)
    return Collectives(*(_by_kind(entry, computations, choose) for choose in (min, max)))


def _by_kind(entry: str, computations: dict[str, list["_Instruction"]], choose: Any) -> dict[str, Traffic]:
    found: dict[str, Counter[str]] = {}

    def total(name: str) -> Counter[str]:
        """Bytes and operations by "kind bytes" and "kind operations", of a computation and all that it calls."""
        if name not in found:
            found[name] = Counter()
            for instruction in computations.get(name, []):
                found[name] += cost(instruction)
        return found[name]

    def cost(instruction: _Instruction) -> Counter[str]:
        opcode, text = instruction.opcode, instruction.text
        kind = opcode.removesuffix("-start")
        if kind in KINDS and _group_size(text) == 1:
            return Counter()
        if kind in KINDS:
            return Counter(
                {f"{kind} bytes": _result_bytes(opcode, instruction.type), f"{kind} operations": 1}
            )
        if opcode == "while":
            (body,) = re.findall(r"body=%?([\w.\-]+)", text)
            inside = total(body)
            return Counter({what: number * _trips(text) for what, number in inside.items()})
        if opcode == "conditional":
            branches = [total(branch) for branch in _branches(text)]
            names = {what for branch in branches for what in branch}
            return Counter({what: choose(branch[what] for branch in branches) for what in names})
        if opcode.endswith(("-done", "-update")):  # of what a -start has begun, and where it was counted
            return Counter()
        called = re.findall(r"(?:calls|to_apply)=%?([\w.\-]+)", text)
        return sum((total(name) for name in called), Counter())

    whole = total(entry)
    kinds = {kind: Traffic(whole[f"{kind} bytes"], whole[f"{kind} operations"]) for kind in KINDS}
    return {kind: traffic for kind, traffic in kinds.items() if traffic.operations}


class _Instruction(NamedTuple):
    """One line: type of the result, opcode, and the text after the opcode."""

    type: str
    opcode: str
    text: str


def _computations(hlo: str) -> tuple[str, dict[str, list[_Instruction]]]:
    """Name of the entry, and the instructions of every computation by its name."""
    entry, current = "", ""
    computations: dict[str, list[_Instruction]] = {}
    for line in hlo.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
        if header and not line.startswith("HloModule"):
            current = header[2]
            computations[current] = []
            entry = current if header[1] else entry
        elif current and (assigned := re.match(r"\s+(?:ROOT )?%?[\w.\-]+ = (.*)", line)):
            computations[current].append(_instruction(assigned[1]))
    return entry, computations


def _instruction(text: str) -> _Instruction:
    """From "type opcode(operands), attributes"; the type of several results is a list in parentheses."""
    end = _closing(text) if text.startswith("(") else text.index(" ")
    opcode, _, rest = text[end:].lstrip(") ").partition("(")
    return _Instruction(text[:end], opcode, rest)


def _closing(text: str) -> int:
    """Place of the parenthesis that closes the first one."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place
    raise ValueError(f"unbalanced parentheses in {text[:80]!r}.")


def _result_bytes(opcode: str, type_: str) -> int:
    """Bytes of a collective's result; begun asynchronously, most kinds give (operands, results, ...)."""
    if opcode in ("all-reduce-start",) or not opcode.endswith("-start"):
        return _bytes(type_)
    return _bytes(_parts(type_)[1])


def _parts(type_: str) -> list[str]:
    """The members of "(type, type, ...)", which may be such lists themselves."""
    parts, depth = [""], 0
    for character in type_[1:]:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _bytes(type_: str) -> int:
    """Of all arrays in a type, as "f32[128,64]{1,0}": 32,768."""
    arrays = re.findall(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]", type_)
    bits = (
        (8 if name == "pred" else int(width)) * math.prod(map(int, filter(None, dims.split(","))))
        for name, width, dims in arrays
    )
    return sum(-(-count // 8) for count in bits)


def _group_size(text: str) -> int | None:
    """Devices that exchange with each other: of {{0,1},{2,3}} and of [2,2]<=[4] two; None where it is not said."""
    listed = re.search(r"replica_groups=(?:\{\{([\d,]*)\}|\[\d+,(\d+)\])", text)
    if listed is None:
        return None
    return int(listed[2]) if listed[2] else len(listed[1].split(","))


def _branches(text: str) -> list[str]:
    listed = re.search(r"branch_computations=\{([^}]*)\}", text)
    names = listed[1].split(",") if listed else re.findall(r"(?:true|false)_computation=(%?[\w.\-]+)", text)
    return [name.strip().removeprefix("%") for name in names]


def _trips(text: str) -> int:
    known = re.search(r'"known_trip_count":(\{[^}]*\})', text)
    if known is None:
        raise ValueError("a loop with collectives inside has no known length.")
    return int(json.loads(known[1])["n"])
