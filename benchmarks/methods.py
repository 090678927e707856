"""The methods that are compared, and what is known of each before it is run."""

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from benchmarks.problems import BATCH, Problem


class Prepared(NamedTuple):
    """A method ready to run on one problem.

    Attributes:
      run: computes (loss, gradient by the embeddings) and waits until both are there.
      read: makes numpy arrays of what `run` returns; gradients of two towers stand below each other.
      compiled_bytes: temporaries and output, from the compiler; None where there is no compiler.
      compile_seconds: what tracing, lowering and compiling took; None where there is no compiler.
    """

    run: Callable[[], Any]
    read: Callable[[Any], tuple[float, np.ndarray]]
    compiled_bytes: int | None
    compile_seconds: float | None


class Method(NamedTuple):
    """One line of the tables.

    Attributes:
      title: as shown to the reader.
      loss: what it computes; methods of the same loss must agree.
      module, function: where `(Problem) -> Prepared` is; imported late, since every framework is optional but JAX.
      needs: the packages that have to be installed.
      options: further arguments of the function.
      arrays: how many float32 arrays of all pairs it holds at its peak, as measured on a CPU at n = 1,024 to 4,096, to
        know what will not fit before it is tried.
      arrays_per_column: the same for each column of the embeddings.
      normalizes: divides the rows by their length itself, so that its gradient has no part along the row.
      queue: the n rows are a queue, which a batch of `BATCH` rows meets.
    """

    title: str
    loss: str
    module: str
    function: str
    needs: tuple[str, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})
    arrays: float = 0.0
    arrays_per_column: float = 0.0
    normalizes: bool = False
    queue: bool = False

    def num_arrays(self, width: int) -> float:
        return self.arrays + self.arrays_per_column * width

    def num_pairs(self, size: int) -> int:
        return BATCH * (BATCH + size) if self.queue else size * size

    def estimated_bytes(self, size: int, width: int) -> float:
        return self.num_arrays(width) * 4 * self.num_pairs(size)

    def prepare(self, problem: Problem) -> Prepared:
        return getattr(importlib.import_module(self.module), self.function)(problem, **self.options)


_JAX, _TORCH = "benchmarks.jax_methods", "benchmarks.torch_methods"
_PML, _OPEN_CLIP = ("torch", "pytorch_metric_learning"), ("torch", "open_clip")
_DENSE = {"block_size": None}
_QUEUE = f"SupCon of {BATCH} rows with a queue of n"

# Ours of each loss stands first: the others are checked against it.
METHODS = {
    "products": Method("bare products", "none", _JAX, "products"),
    "tcl": Method("TCL, tcl_jax", "TCL", _JAX, "tcl"),
    "tcl_dense": Method("TCL, tcl_jax dense", "TCL", _JAX, "tcl", options=_DENSE, arrays=7.5),
    "tcl_torch": Method("TCL, official form", "TCL", _TORCH, "tcl", ("torch",), arrays=11),
    "supcon": Method("SupCon, tcl_jax", "SupCon", _JAX, "supcon"),
    "supcon_dense": Method("SupCon, tcl_jax dense", "SupCon", _JAX, "supcon", options=_DENSE, arrays=7.5),
    "supcon_pml": Method("SupCon, pytorch-metric-learning", "SupCon", _TORCH, "supcon", _PML, arrays=13),
    "ntxent": Method("NT-Xent, tcl_jax", "NT-Xent", _JAX, "ntxent"),
    # optax multiplies all pairs of rows element by element, and the derivative keeps the n x n x d products.
    "ntxent_optax": Method(
        "NT-Xent, optax", "NT-Xent", _JAX, "ntxent_optax", ("optax",), arrays_per_column=3, normalizes=True
    ),
    "clip": Method("CLIP, tcl_jax", "CLIP", _JAX, "clip"),
    "clip_dense": Method("CLIP, tcl_jax dense", "CLIP", _JAX, "clip", options=_DENSE, arrays=10),
    "clip_open": Method("CLIP, open_clip", "CLIP", _TORCH, "clip", _OPEN_CLIP, arrays=7),
    "siglip": Method("SigLIP, tcl_jax", "SigLIP", _JAX, "siglip"),
    "siglip_dense": Method("SigLIP, tcl_jax dense", "SigLIP", _JAX, "siglip", options=_DENSE, arrays=2.5),
    "siglip_open": Method("SigLIP, open_clip", "SigLIP", _TORCH, "siglip", _OPEN_CLIP, arrays=8),
    "queue": Method(f"{_QUEUE}, tcl_jax", "queue", _JAX, "queue", queue=True),
    "queue_dense": Method(
        f"{_QUEUE}, tcl_jax dense", "queue", _JAX, "queue", options=_DENSE, arrays=6, queue=True
    ),
    "queue_pml": Method(
        f"{_QUEUE}, pytorch-metric-learning", "queue", _TORCH, "queue", _PML, arrays=13, queue=True
    ),
}
