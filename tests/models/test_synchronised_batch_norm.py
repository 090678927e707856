"""BatchNorm statistics shared by eight devices give the gradient that one device gives."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from tcl_jax.models import ContrastiveModel, make_model
from tcl_jax.models.resnet import DEPTHS, BasicBlock

pytestmark = pytest.mark.xdist_group("batch_norm")  # they share what is compiled

DEVICES, IMAGES = 8, 16
BATCH = np.random.default_rng(0).normal(size=(IMAGES, 16, 16, 3))


@pytest.fixture(scope="module", autouse=True)
def two_blocks():
    """A network of every kind of BatchNorm, those of the stem, of a block and of a shortcut, and no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEPTHS, 18, (BasicBlock, (1, 1, 0, 0)))
        yield


def model(axis_name: str | None) -> ContrastiveModel:
    return make_model(
        "resnet18", stem="cifar", width=8, projection_dim=8, axis_name=axis_name, param_dtype=jnp.float64
    )


def share_of_loss(
    params: Any, batch_stats: Any, images: jax.Array, *, axis_name: str | None
) -> tuple[Any, Any]:
    """This device's share of a mean over all images, not linear in the projections; the new statistics."""
    inputs = {"params": params, "batch_stats": batch_stats}
    z, updated = model(axis_name).apply(inputs, images, train=True, mutable=["batch_stats"])
    return jnp.sum(jnp.exp(3 * z[:, 0] - z[:, 1] * z[:, 2])) / IMAGES, updated["batch_stats"]


def gradient(axis_name: str | None) -> Callable[..., Any]:
    """(params, batch_stats, images) -> gradient of the device's share, new statistics."""
    return jax.grad(partial(share_of_loss, axis_name=axis_name), has_aux=True)


@pytest.fixture(scope="module")
def variables(fill) -> dict[str, Any]:
    with jax.enable_x64(True):
        return fill(model(None), BATCH)


@pytest.fixture(scope="module")
def one_device(variables) -> tuple[Any, Any]:
    """The gradient and statistics to agree with."""
    with jax.enable_x64(True):
        return jax.jit(gradient(None))(variables["params"], variables["batch_stats"], BATCH)


def shard_mapped(variables: dict[str, Any]) -> tuple[Any, Any]:
    # Parameters are the same on all devices, so autodiff sums their gradient itself.
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(
        gradient("data"), mesh=mesh, in_specs=(P(), P(), P("data")), out_specs=P(), check_vma=True
    )
    return jax.jit(mapped)(variables["params"], variables["batch_stats"], BATCH)


def pmapped(variables: dict[str, Any], axis_name: str | None) -> tuple[Any, Any]:
    def summed(params, batch_stats, images):
        own, statistics = gradient(axis_name)(params, batch_stats, images)
        return jax.lax.psum(own, "data"), statistics

    images = BATCH.reshape(DEVICES, IMAGES // DEVICES, *BATCH.shape[1:])
    mapped = jax.pmap(summed, axis_name="data", in_axes=(None, None, 0))
    results = mapped(variables["params"], variables["batch_stats"], images)
    return jax.tree.map(lambda leaf: leaf[0], results)


def differences(found: tuple[Any, Any], expected: tuple[Any, Any]) -> tuple[float, float]:
    """max |difference| / max |expected|, of the gradient and of the statistics."""

    def difference(found: Any, expected: Any) -> float:
        found, expected = (
            np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (found, expected)
        )
        assert found.dtype == expected.dtype == np.float64
        return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))

    return difference(found[0], expected[0]), difference(found[1], expected[1])


def test_shard_map_gives_the_gradient_and_statistics_of_one_device(variables, one_device) -> None:
    with jax.enable_x64(True):
        of_gradient, of_statistics = differences(shard_mapped(variables), one_device)
    assert of_gradient <= 1e-9
    assert of_statistics <= 1e-12


@pytest.mark.slow
def test_pmap_gives_the_gradient_and_statistics_of_one_device(variables, one_device) -> None:
    with jax.enable_x64(True):
        of_gradient, of_statistics = differences(pmapped(variables, "data"), one_device)
    assert of_gradient <= 1e-9
    assert of_statistics <= 1e-12


@pytest.mark.slow
def test_statistics_of_each_device_alone_give_another_gradient(variables, one_device) -> None:
    with jax.enable_x64(True):
        of_gradient, of_statistics = differences(pmapped(variables, None), one_device)
    assert of_gradient > 0.01
    assert of_statistics > 0.01
