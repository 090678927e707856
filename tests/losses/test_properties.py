"""What must hold of the losses for any input."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from tcl_jax import losses
from tests.losses import reference

pytestmark = pytest.mark.xdist_group("properties")  # they share what is compiled

SEEDS = range(6)


def jnp_mean_loss(z, weights, coefficients, labels):
    """The definition for autodiff: dense, unshifted, 64-bit."""
    live = weights > 0
    pair = live[:, None] & live[None] & ~jnp.eye(len(z), dtype=bool)
    positive = pair & (labels[:, None] == labels[None])
    s = z @ z.T
    attraction = jnp.exp(s / coefficients["temperature"])
    denominator = jnp.sum(
        positive * (attraction + coefficients["k1"] * jnp.exp(-s))
        + coefficients["k2"] * (pair & ~positive) * attraction,
        axis=1,
    )
    count = positive.sum(1)
    mean = jnp.sum(positive * s, axis=1) / jnp.maximum(count, 1) / coefficients["temperature"]
    values = jnp.where(count > 0, jnp.log(jnp.where(count > 0, denominator, 1)) - mean, 0)
    share = jnp.where(count > 0, weights, 0)
    return jnp.sum(share * values) / jnp.sum(share)


@jax.jit
def value_and_gradients(z, weights, coefficients, labels):
    """By rows, weights and coefficients; and the same gradients by autodiff of the definition."""

    def ours(z, weights, coefficients):
        return losses.tcl_loss(z, labels, weights=weights, block_size=5, **coefficients)

    value, gradients = jax.value_and_grad(ours, argnums=(0, 1, 2))(z, weights, coefficients)
    return value, gradients, jax.grad(jnp_mean_loss, argnums=(0, 1, 2))(z, weights, coefficients, labels)


@pytest.mark.quick
@pytest.mark.parametrize("seed", SEEDS)
def test_value_and_all_gradients_against_the_definition(seed):
    z, labels, weights, coefficients = reference.random_case(seed)
    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (z, weights, coefficients, labels))
        value, gradients, expected = value_and_gradients(*arguments)
    # The derivative by a weight of 0 is not defined: there the row comes into being.
    by_weights = np.where(weights > 0, expected[1], 0.0)
    definition = reference.mean_loss(z, labels, weights, **coefficients)
    closed_form = reference.closed_form_gradient(z, labels, weights, **coefficients)
    assert float(value) == pytest.approx(definition, rel=1e-13)
    assert reference.relative_error(closed_form, expected[0]) <= 1e-12
    assert reference.relative_error(gradients[0], expected[0]) <= 1e-12
    assert reference.relative_error(gradients[1], by_weights) <= 1e-12
    for name, derivative in gradients[2].items():
        assert float(derivative) == pytest.approx(float(expected[2][name]), rel=1e-10), name


@pytest.mark.parametrize(("reduction", "block_size"), [("none", "auto"), ("mean", 4)])
def test_gradients_against_numeric_differentiation(reduction, block_size):
    z, labels, weights, coefficients = reference.random_case(11, n=10)
    coefficients["k1"] = 30.0
    weights = np.maximum(weights, 0.1)  # at 0 a row comes into being: no derivative there

    @jax.jit
    def loss(z, weights, coefficients):
        values = losses.tcl_loss(
            z, labels, weights=weights, reduction=reduction, block_size=block_size, **coefficients
        )
        return jnp.sum(jnp.cos(jnp.arange(values.size)) * values)  # another cotangent for each row

    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (z, weights, coefficients))
        check_grads(loss, arguments, order=1, modes=["rev"], eps=1e-6, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("block_size", [None, "auto", 1, np.int64(7), 1000])
def test_values_of_each_anchor(block_size):
    z, labels, weights, coefficients = reference.random_case(3)
    expected, counts = reference.anchor_losses(z, labels, weights, **coefficients)
    assert 0 < counts.sum() < len(z)  # the case has anchors that do not count
    with jax.enable_x64(True):
        values = losses.tcl_loss(
            jnp.asarray(z), labels, weights=weights, reduction="none", block_size=block_size, **coefficients
        )
    np.testing.assert_allclose(values, expected, rtol=1e-13)


@pytest.mark.parametrize("block_size", [None, 3])
def test_a_second_derivative_is_refused_in_words(block_size):
    z, labels, _, coefficients = reference.random_case(3, n=8)

    def loss(z):
        return losses.tcl_loss(z, labels, block_size=block_size, **coefficients)

    with pytest.raises(NotImplementedError, match="first derivatives only"):
        jax.eval_shape(jax.jacrev(jax.grad(loss)), jnp.asarray(z))
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        jax.eval_shape(jax.grad(lambda z: jnp.sum(jax.jit(jax.grad(loss))(z) ** 2)), jnp.asarray(z))


def test_order_of_rows_does_not_matter():
    z, labels, weights, coefficients = reference.random_case(4)
    order = np.random.default_rng(0).permutation(len(z))
    with jax.enable_x64(True):
        before = losses.tcl_loss(jnp.asarray(z), labels, weights=weights, **coefficients)
        after = losses.tcl_loss(jnp.asarray(z[order]), labels[order], weights=weights[order], **coefficients)
    assert float(before) == pytest.approx(float(after), rel=1e-14)


def test_weight_zero_is_the_same_as_removing_the_row_whatever_it_holds():
    z, labels, weights, coefficients = reference.random_case(5)
    live = weights > 0
    z[~live] = np.nan

    def loss(z, labels, weights):
        return losses.tcl_loss(z, labels, weights=weights, **coefficients)

    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(loss)(jnp.asarray(z), labels, weights)
        expected, kept = jax.value_and_grad(loss)(jnp.asarray(z[live]), labels[live], weights[live])
    assert float(value) == pytest.approx(float(expected), rel=1e-14)
    np.testing.assert_allclose(gradient[live], kept, rtol=1e-12, atol=1e-16)
    assert not np.any(gradient[~live])


def test_nan_in_a_live_row_is_not_hidden():
    z, labels, _, _ = reference.random_case(5)
    z[3] = np.nan
    assert np.isnan(losses.tcl_loss(jnp.asarray(z), labels))


def test_only_the_proportion_of_weights_matters():
    z, labels, weights, _ = reference.random_case(6)
    one, ten = (losses.supcon_loss(jnp.asarray(z), labels, weights=w) for w in (weights, 10 * weights))
    assert float(one) == pytest.approx(float(ten), rel=1e-6)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("labels", "weights"),
    [([0, 1, 2, 3], [1, 1, 1, 1]), ([0, 0, 1, 1], [0, 0, 0, 0]), ([0, 0, 1, 1], [0, 1, 1, 0]), ([5], [1])],
    ids=["all_distinct", "no_live_row", "positives_removed", "one_row"],
)
def test_where_no_anchor_counts_the_loss_is_zero_with_zero_gradient(labels, weights):
    z = jnp.eye(4)[: len(labels)]
    arguments = (z, jnp.asarray(weights, jnp.float32), jnp.float32(0.1), jnp.float32(5.0), jnp.float32(1.0))

    def loss(z, weights, temperature, k1, k2):
        return losses.tcl_loss(z, jnp.asarray(labels), weights=weights, temperature=temperature, k1=k1, k2=k2)

    value, gradients = jax.value_and_grad(loss, argnums=tuple(range(5)))(*arguments)
    assert value == 0
    assert all(not np.any(g) for g in gradients)


@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 0.02), ("float16", 0.003)])
def test_half_precision_rows_are_computed_in_float32(dtype, bound):
    z, labels, _, coefficients = reference.random_case(8, n=64, d=32)
    value, gradient = jax.value_and_grad(lambda z: losses.tcl_loss(z, labels, **coefficients))(
        jnp.asarray(z, dtype)
    )
    rounded = np.asarray(jnp.asarray(z, dtype), np.float64)
    assert value.dtype == "float32"
    assert gradient.dtype == dtype
    # Given the rounded rows, the loss is as good as for float32 rows: only the gradient is rounded once more.
    assert float(value) == pytest.approx(
        reference.mean_loss(rounded, labels, np.ones(64), **coefficients), rel=1e-5
    )
    expected = reference.closed_form_gradient(rounded, labels, np.ones(64), **coefficients)
    assert reference.relative_error(gradient, expected) <= bound


def test_supcon_is_tcl_without_its_terms():
    z, labels, weights, _ = reference.random_case(9)
    z = jnp.asarray(z)
    supcon = losses.supcon_loss(z, labels, weights=weights, temperature=0.2)
    assert supcon == losses.tcl_loss(z, labels, weights=weights, temperature=0.2, k1=0.0, k2=1.0)
    assert supcon != losses.tcl_loss(z, labels, weights=weights, temperature=0.2, k1=1.0, k2=1.0)
    assert supcon != losses.tcl_loss(z, labels, weights=weights, temperature=0.2, k1=0.0, k2=1.5)


@pytest.mark.parametrize("num_views", [2, 3])
def test_ntxent_is_supcon_with_image_ids(num_views):
    z = jnp.asarray(reference.random_case(10, n=12)[0])
    ids = jnp.tile(jnp.arange(12 // num_views), num_views)
    ours = losses.ntxent_loss(z, num_views=num_views, temperature=0.3)
    assert ours == losses.supcon_loss(z, ids, temperature=0.3)
    if num_views == 2:
        assert float(ours) == pytest.approx(float(optax.losses.ntxent(z, ids, temperature=0.3)), rel=1e-6)


@pytest.mark.quick
def test_losses_import_nothing_but_jax():
    program = (
        "import sys; from tcl_jax import losses; losses.tcl_loss; "
        "print([m for m in ('flax', 'optax', 'tensorflow', 'tensorflow_datasets', 'orbax', 'ml_collections', 'absl')"
        " if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
