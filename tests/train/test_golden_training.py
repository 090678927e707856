"""Whole training steps agree with those recorded from the official PyTorch code, in 64-bit.

Network, batches and optimiser are rebuilt from the recipe that the results were recorded with: every
parameter is drawn from a generator seeded by its PyTorch name, every batch from one seeded by its step.
"""

import math
import re
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from tcl_jax import losses
from tcl_jax.models import make_model
from tcl_jax.train.optimizer import sgd

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = ("training_resnet18_tcl", "training_resnet50_tcl", "training_resnet18_supcon")
TOLERANCE = 1e-9
EVALUATION_BATCH = 99

# Many convolutions in 64-bit: here XLA's costly optimisations, which the other tests go without, pay.
optimized_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})

# From PyTorch's names to the paths of tcl_jax.models, in this order.
RENAMES = (
    (r"^(?!head\.)", "encoder."),
    (r"head\.0", "head.linear1"),
    (r"head\.2", "head.linear2"),
    (r"(layer\d)\.(\d+)", r"\1_\2"),
    (r"shortcut\.0", "shortcut_conv"),
    (r"shortcut\.1", "shortcut_bn"),
    (r"((?:conv|linear)\d*)\.weight", r"\1.kernel"),
    (r"(bn\d*)\.weight", r"\1.scale"),
)

# Path of a module, a parameter or a statistic: ("encoder", "layer1_0", "conv1", "kernel").
FlaxPath = tuple[str, ...]


def flax_path(name: str) -> FlaxPath:
    """Where `tcl_jax.models` keeps the parameter that PyTorch calls `name`."""
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return tuple(name.split("."))


def initial_value(name: str, flax_shape: tuple[int, ...]) -> np.ndarray:
    """The recorded run's initial value of a parameter, turned from PyTorch's layout into Flax's."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(flax_shape) == 4:
        height, width, inputs, outputs = flax_shape
        scale = np.sqrt(2 / (outputs * height * width))
        return (rng.normal(size=(outputs, inputs, height, width)) * scale).transpose(2, 3, 1, 0)
    if len(flax_shape) == 2:
        inputs, outputs = flax_shape
        return (rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)).T
    return np.ones(flax_shape) if flax_path(name)[-1] == "scale" else np.zeros(flax_shape)


def batch(step: int, images_per_view: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [2 * images_per_view, 32, 32, 3], view by view, and their labels."""
    rng = np.random.default_rng(1000 + step)
    images = rng.normal(size=(2 * images_per_view, 3, 32, 32)).transpose(0, 2, 3, 1)
    return images, np.tile(rng.integers(0, 4, images_per_view), 2)


def values_per_channel(model: nn.Module, variables: Any, images: jax.Array) -> dict[FlaxPath, int]:
    """How many values each BatchNorm averages per channel: n = images * height * width."""
    _, captured = jax.eval_shape(
        lambda v, x: model.apply(
            v,
            x,
            train=False,
            mutable=["intermediates"],
            capture_intermediates=lambda m, _: isinstance(m, nn.BatchNorm),
        ),
        variables,
        images,
    )
    outputs = flatten_dict(captured["intermediates"])  # (..., "bn1", "__call__"): one output in a tuple
    return {path[:-1]: math.prod(output.shape[:-1]) for path, (output,) in outputs.items()}


def torch_running_statistics(old: Any, new: Any, n: dict[FlaxPath, int]) -> Any:
    """Flax's updated statistics as PyTorch updates them.

    Flax: new = 0.9 old + 0.1 v, with v the biased variance of the batch. PyTorch takes v n / (n - 1) instead.
    Means are the same.
    """
    old, new = flatten_dict(old), flatten_dict(new)
    unbiased = {
        path: 0.9 * old[path] + (new[path] - 0.9 * old[path]) * n[path[:-1]] / (n[path[:-1]] - 1)
        for path in new
        if path[-1] == "var"
    }
    return unflatten_dict({**new, **unbiased})


def build(golden: dict[str, np.ndarray], images: jax.Array) -> tuple[nn.Module, Any, Any]:
    """The model, its initial parameters and its initial statistics."""
    model = make_model(
        str(golden["arch"]), stem="cifar", width=64, projection_dim=128, param_dtype=jnp.float64
    )
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    names = {flax_path(str(name)): str(name) for name in golden["param_names"]}
    parameter_shapes = flatten_dict(shapes["params"])
    assert names.keys() == parameter_shapes.keys()
    params = {
        path: jnp.asarray(initial_value(names[path], leaf.shape)) for path, leaf in parameter_shapes.items()
    }
    batch_stats = {
        path: jnp.full(leaf.shape, 1.0 if path[-1] == "var" else 0.0, leaf.dtype)
        for path, leaf in flatten_dict(shapes["batch_stats"]).items()
    }
    return model, unflatten_dict(params), unflatten_dict(batch_stats)


def loss_of(golden: dict[str, np.ndarray]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The recorded objective: (projections, labels) -> scalar."""
    settings = {"temperature": float(golden["temperature"])}
    if golden["loss_name"] == "supcon":
        return partial(losses.supcon_loss, **settings)
    return partial(losses.tcl_loss, **settings, k1=float(golden["k1"]), k2=float(golden["k2"]))


def optimizer_of(golden: dict[str, np.ndarray]) -> optax.GradientTransformation:
    """torch.optim.SGD: v = m v + (g + wd p); p = p - lr v."""
    direction = sgd(momentum=float(golden["momentum"]), weight_decay=float(golden["weight_decay"]))
    return optax.chain(direction, optax.scale(-float(golden["learning_rate"])))


def train(golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs the recorded steps; the result has the keys of the golden file and PyTorch's layouts."""
    images_per_view = int(golden["images_per_view"])
    images, _ = batch(0, images_per_view)
    model, params, batch_stats = build(golden, images)
    n = values_per_channel(model, {"params": params, "batch_stats": batch_stats}, images)
    loss_function, optimizer = loss_of(golden), optimizer_of(golden)
    opt_state = optimizer.init(params)

    def objective(params, batch_stats, images, labels):
        variables = {"params": params, "batch_stats": batch_stats}
        embeddings, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return loss_function(embeddings, labels), (embeddings, updated["batch_stats"])

    @optimized_jit
    def step(params, batch_stats, opt_state, images, labels):
        (loss, (embeddings, new_stats)), gradient = jax.value_and_grad(objective, has_aux=True)(
            params, batch_stats, images, labels
        )
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        batch_stats = torch_running_statistics(batch_stats, new_stats, n)
        return optax.apply_updates(params, updates), batch_stats, opt_state, loss, embeddings, gradient

    def norms(tree: Any) -> np.ndarray:
        leaves = flatten_dict(tree)
        return np.array([np.linalg.norm(leaves[flax_path(str(name))]) for name in golden["param_names"]])

    found: dict[str, Any] = {"losses": []}
    for index in range(int(golden["steps"])):
        images, labels = batch(index, images_per_view)
        params, batch_stats, opt_state, loss, embeddings, gradient = step(
            params, batch_stats, opt_state, images, labels
        )
        found["losses"].append(float(loss))
        if index == 0:
            stem = batch_stats["encoder"]["bn1"]
            found |= {
                "embeddings_step0": embeddings,
                "grad_l2_step0": norms(gradient),
                "grad_conv1_step0": gradient["encoder"]["conv1"]["kernel"].transpose(3, 2, 0, 1),
                "bn1_running_mean_step0": stem["mean"],
                "bn1_running_var_step0": stem["var"],
            }
    images, _ = batch(EVALUATION_BATCH, images_per_view)
    variables = {"params": params, "batch_stats": batch_stats}
    found["embeddings_eval_final"] = optimized_jit(partial(model.apply, train=False))(variables, images)
    found["param_l2_final"] = norms(params)
    return {key: np.asarray(value) for key, value in found.items()}


def relative_error(key: str, found: np.ndarray, golden: np.ndarray) -> float:
    """Largest difference: of norms each by its own size, of arrays by their largest entry."""
    assert found.shape == golden.shape, key
    assert found.dtype == golden.dtype == np.float64, key
    scale = golden if key in ("losses", "grad_l2_step0", "param_l2_final") else np.max(np.abs(golden))
    return float(np.max(np.abs(found - golden) / scale))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_training_steps_agree_with_the_official_code(case: str) -> None:
    with np.load(GOLDEN / f"{case}.npz") as archive:
        golden = dict(archive)
    with jax.enable_x64(True):
        found = train(golden)
    errors = {key: relative_error(key, value, golden[key]) for key, value in found.items()}
    assert max(errors.values()) <= TOLERANCE, errors
