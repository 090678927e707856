"""What the tests of models share."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen as nn


@pytest.fixture(scope="session")
def fill() -> Callable[[nn.Module, Any], Any]:
    """(model, images) -> variables: drawn kernels and biases, BatchNorm as initialised.

    Drawn by NumPy, because compiling a whole network's random initialisation takes longer than most tests.
    """

    def value(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct, rng: np.random.Generator) -> np.ndarray:
        if leaf.ndim > 1:
            return (rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype(leaf.dtype)
        return np.full(leaf.shape, 1.0 if path[-1].key in ("scale", "var") else 0.0, leaf.dtype)

    def fill(model: nn.Module, images: Any) -> Any:
        rng = np.random.default_rng(0)
        shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
        return jax.tree.map_with_path(partial(value, rng=rng), shapes)

    return fill
