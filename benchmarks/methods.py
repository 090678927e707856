"""The methods that are compared, and what is known of each before it is run."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.problems import Problem


class Prepared(NamedTuple):
    """A method ready to run on one problem.

    Attributes:
      run: computes (loss, gradient by the embeddings) and waits until both are there.
      read: makes numpy arrays of what `run` returns.
      compiled_bytes: temporaries and output, from the compiler; None where there is no compiler.
    """

    run: Callable[[], Any]
    read: Callable[[Any], tuple[float, np.ndarray]]
    compiled_bytes: int | None


class Method(NamedTuple):
    """One line of the tables.

    Attributes:
      title: as shown to the reader.
      loss: what it computes; methods of the same loss must agree.
      module, function: where `(Problem) -> Prepared` is; imported late, since every framework is optional but JAX.
      needs: the packages that have to be installed.
      arrays: how many n x n float32 arrays it holds at its peak, as measured on a CPU at n = 1,024 to 4,096, to
        know what will not fit before it is tried.
      arrays_per_column: the same for each column of the embeddings.
      normalizes: divides the rows by their length itself, so that its gradient has no part along the row.
    """

    title: str
    loss: str
    module: str
    function: str
    needs: tuple[str, ...] = ()
    arrays: float = 0.0
    arrays_per_column: float = 0.0
    normalizes: bool = False

    def num_arrays(self, width: int) -> float:
        return self.arrays + self.arrays_per_column * width

    def estimated_bytes(self, size: int, width: int) -> float:
        return self.num_arrays(width) * 4 * size * size

    def prepare(self, problem: Problem) -> Prepared:
        return getattr(importlib.import_module(self.module), self.function)(problem)


_JAX, _TORCH = "benchmarks.jax_methods", "benchmarks.torch_methods"

# Ours of each loss stands first: the others are checked against it.
METHODS = {
    "products": Method("bare products", "none", _JAX, "products"),
    "tcl": Method("TCL, tcl_jax", "TCL", _JAX, "tcl"),
    "tcl_dense": Method("TCL, tcl_jax dense", "TCL", _JAX, "tcl_dense", arrays=7.5),
    "tcl_torch": Method("TCL, official form", "TCL", _TORCH, "tcl", ("torch",), arrays=11),
    "supcon": Method("SupCon, tcl_jax", "SupCon", _JAX, "supcon"),
    "supcon_pml": Method(
        "SupCon, pytorch-metric-learning",
        "SupCon",
        _TORCH,
        "supcon",
        ("torch", "pytorch_metric_learning"),
        arrays=13,
    ),
    "ntxent": Method("NT-Xent, tcl_jax", "NT-Xent", _JAX, "ntxent"),
    # optax multiplies all pairs of rows element by element, and the derivative keeps the n x n x d products.
    "ntxent_optax": Method(
        "NT-Xent, optax", "NT-Xent", _JAX, "ntxent_optax", ("optax",), arrays_per_column=3, normalizes=True
    ),
}
