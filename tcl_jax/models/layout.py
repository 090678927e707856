"""The encoder's variables as named arrays in a file, there and back without a loss."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

Path = tuple[str, ...]
"""Where a variable is, as ("params", "conv1", "kernel")."""


class Layout(NamedTuple):
    """How a family of encoders is written.

    Attributes:
      package: whose names and axes these are.
      name: of the array of a variable.
      to_file, from_file: the array's axes in the file, and back.
      file_shape: the shape in the file, of a shape.
      ignored: names in a file that are not variables of the encoder.
      counter: for the name of an array, that of a counter of batches beside it; None where it has none.
      resized: (tensors, template, image_shape) -> tensors of a file made with images of another size, for these.
    """

    package: str
    name: Callable[[Path], str]
    to_file: Callable[[np.ndarray], np.ndarray]
    from_file: Callable[[np.ndarray], np.ndarray]
    file_shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    ignored: re.Pattern[str]
    counter: Callable[[str], str | None]
    resized: Callable[
        [Mapping[str, np.ndarray], Mapping[str, Any], tuple[int, int, int]], Mapping[str, np.ndarray]
    ] = lambda tensors, template, image_shape: tensors


FLAX = Layout(
    package="Flax",
    name="/".join,
    to_file=np.ascontiguousarray,
    from_file=np.asarray,
    file_shape=tuple,
    ignored=re.compile(r"(?!)"),
    counter=lambda name: None,
)
"""For encoders of the user's own: the variables as Flax has them, as "params/Conv_0/kernel"."""


def layout_of(encoder: Any) -> Layout:
    """How the variables of an encoder are written: as the attribute `layout` of its class says, or as Flax has them."""
    layout = getattr(type(encoder), "layout", FLAX)
    return layout if isinstance(layout, Layout) else FLAX


def encoder_tensors(
    variables: Mapping[str, Any], layout: Layout, *, num_batches: int
) -> dict[str, np.ndarray]:
    """The variables of an encoder as the arrays of a file.

    Args:
      variables: "params" and, if there are any, "batch_stats", as arrays of any shapes.
      num_batches: the value of every counter.
    """
    tensors = {}
    for path, leaf in _leaves(variables):
        name = layout.name(path)
        tensors[name] = layout.to_file(np.asarray(leaf))
        if counter := layout.counter(name):
            tensors[counter] = np.array(num_batches, np.int64)
    return tensors


def encoder_variables(
    tensors: Mapping[str, np.ndarray], template: Mapping[str, Any], layout: Layout
) -> dict[str, Any]:
    """The variables of an encoder from tensors without `mismatches`, in numpy.

    Args:
      template: variables with the wanted structure, shapes and dtypes.
    """

    def value(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        return layout.from_file(tensors[layout.name(_keys(path))]).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(value, dict(template))


def mismatches(tensors: Mapping[str, np.ndarray], template: Mapping[str, Any], layout: Layout) -> list[str]:
    """What keeps tensors from being the variables of `template`, each in a few words: shapes, then names.

    Convolutions come first, as their shapes say most of what is another network.

    >>> template = {"params": {"conv1": {"kernel": np.zeros((3, 3, 1, 8))}}}
    >>> mismatches({"params/conv1/kernel": np.zeros((3, 3, 3, 8))}, template, FLAX)
    ['params/conv1/kernel is [3, 3, 3, 8], expected [3, 3, 1, 8]']
    """
    shapes_of = {layout.name(path): layout.file_shape(leaf.shape) for path, leaf in _leaves(template)}
    expected = dict(sorted(shapes_of.items(), key=lambda item: (len(item[1]) != 4, item[0])))
    both = expected.keys() & tensors.keys()
    order = [name for name in expected if name in both]
    shapes = [
        f"{name} is {list(tensors[name].shape)}, expected {list(expected[name])}"
        for name in order
        if tensors[name].shape != expected[name]
    ]
    kinds = [
        f"{name} is of {tensors[name].dtype}, expected float32"
        for name in order
        if not np.issubdtype(tensors[name].dtype, np.floating)
    ]
    missing = [f"{name} is missing" for name in expected if name not in both]
    unexpected = [
        f"{name} is not expected"
        for name in sorted(tensors.keys() - both)
        if not layout.ignored.fullmatch(name)
    ]
    return shapes + kinds + missing + unexpected


def to_torch(array: np.ndarray) -> np.ndarray:
    """An array with PyTorch's axes: a kernel [h, w, in, out] is [out, in, h, w], [in, out] is [out, in]."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim, range(array.ndim))
    return np.ascontiguousarray(array.transpose(order))  # files hold nothing but this order


def from_torch(array: np.ndarray) -> np.ndarray:
    """The inverse of `to_torch`."""
    order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim, range(array.ndim))
    return np.ascontiguousarray(array.transpose(order))


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of `to_torch` of an array."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))
    return tuple(shape[axis] for axis in order)


def in_brief(wrong: list[str]) -> str:
    """The first three of `mismatches`, and how many more there are.

    >>> in_brief(["a", "b", "c", "d", "e"])
    'a; b; c; and 2 more'
    """
    more = [f"and {len(wrong) - 3} more"] if len(wrong) > 3 else []
    return "; ".join(wrong[:3] + more)


def of_encoder(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The encoder's part of the variables of a `ContrastiveModel`, without empty collections."""
    return {kind: tree["encoder"] for kind, tree in variables.items() if "encoder" in tree}


def _leaves(variables: Mapping[str, Any]) -> list[tuple[Path, Any]]:
    found, _ = jax.tree_util.tree_flatten_with_path(dict(variables))
    return [(_keys(path), leaf) for path, leaf in found]


def _keys(path: tuple[Any, ...]) -> Path:
    return tuple(entry.key for entry in path)
