"""Loss and gradient against figures of the official PyTorch code, in every precision and mapping."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcl_jax import losses
from tests.losses.mappings import AXIS, MAPPINGS, gradient_over_devices
from tests.losses.reference import GOLDEN, LOSS_CASES, relative_error

# The golden files hold z in float64; float32 rows differ from them by rounding already.
TOLERANCE = {64: lambda temperature: 1e-10, 32: lambda temperature: 1e-4 if temperature <= 0.02 else 1e-5}


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def face(kind, coefficients, embeddings, labels, weights=None, axis_name=None, block_size="auto"):
    shared = dict(weights=weights, axis_name=axis_name, block_size=block_size)
    if kind == "supcon":
        return losses.supcon_loss(embeddings, labels, temperature=coefficients["temperature"], **shared)
    return losses.tcl_loss(embeddings, labels, **coefficients, **shared)


def coefficients_of(case):
    return {name: jnp.asarray(float(case[name])) for name in ("temperature", "k1", "k2")}


@functools.cache
def over_devices(mapping, kind, bits):
    def loss(coefficients, z, labels, weights):
        return face(kind, coefficients, z, labels, weights, axis_name=AXIS)

    return gradient_over_devices(mapping, loss)


def test_all_golden_cases_are_here():
    assert len(LOSS_CASES) == 12


@pytest.mark.quick
@pytest.mark.parametrize("block_size", [None, 7], ids=lambda size: f"block_{size}")
@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("name", LOSS_CASES)
def test_one_device(name, bits, block_size):
    case = golden(name)
    with jax.enable_x64(bits == 64):
        z = jnp.asarray(case["z"])
        loss = functools.partial(face, str(case["kind"]), labels=case["labels"], block_size=block_size)
        value, gradient = jax.jit(jax.value_and_grad(loss, argnums=1))(coefficients_of(case), z)
        assert value.dtype == gradient.dtype == f"float{bits}"
    bound = TOLERANCE[bits](case["temperature"])
    assert relative_error(value, case["loss"]) <= bound
    assert relative_error(gradient, case["grad"]) <= bound


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("name", LOSS_CASES)
def test_eight_devices_and_any_order_of_rows(name, mapping, bits):
    case = golden(name)
    order = np.random.default_rng(7).permutation(len(case["z"]))
    z, labels, expected = case["z"][order], case["labels"][order], case["grad"][order]
    # All cases in one shape, for one compilation: added rows have weight 0, added columns are 0.
    rows, columns = 128 - z.shape[0], 128 - z.shape[1]
    z, labels = np.pad(z, ((0, rows), (0, columns))), np.pad(labels, (0, rows))
    weights = np.pad(np.ones(len(order)), (0, rows))
    with jax.enable_x64(bits == 64):
        run = over_devices(mapping, str(case["kind"]), bits)
        value, _, gradient = run(
            coefficients_of(case), jnp.asarray(z), jnp.asarray(labels), jnp.asarray(weights)
        )
    bound = TOLERANCE[bits](case["temperature"])
    assert relative_error(value, case["loss"]) <= bound
    assert relative_error(gradient, np.pad(expected, ((0, rows), (0, columns)))) <= bound
