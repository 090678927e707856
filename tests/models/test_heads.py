"""Projection head and linear classifier: unit rows, gradients, initial values, dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcl_jax.models import LinearClassifier, ProjectionHead
from tcl_jax.models.heads import unit_rows


def random_rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_projections_are_linear_relu_linear_scaled_to_unit_length() -> None:
    head, features = ProjectionHead(projection_dim=7), random_rows(5, 12)
    variables = head.init(jax.random.key(0), features)
    first, second = variables["params"]["linear1"], variables["params"]["linear2"]
    hidden = np.maximum(features @ first["kernel"] + first["bias"], 0)
    rows = hidden @ second["kernel"] + second["bias"]
    found = head.apply(variables, features)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(found, rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-5)


def test_hidden_layer_is_as_wide_as_the_features_and_the_default_projection_128() -> None:
    params = jax.eval_shape(ProjectionHead().init, jax.random.key(0), random_rows(2, 24))["params"]
    shapes = jax.tree.map(jnp.shape, params)
    assert shapes == {
        "linear1": {"kernel": (24, 24), "bias": (24,)},
        "linear2": {"kernel": (24, 128), "bias": (128,)},
    }


@pytest.mark.parametrize("layer", ["linear1", "linear2", "classifier"])
def test_linear_layers_start_as_in_pytorch_uniform_within_one_over_root_fan_in(layer: str) -> None:
    features = random_rows(1, 400)
    if layer == "classifier":
        params = LinearClassifier(num_classes=600).init(jax.random.key(0), features)["params"]["linear"]
    else:
        params = ProjectionHead(projection_dim=600).init(jax.random.key(0), features)["params"][layer]
    for value in (params["kernel"], params["bias"]):
        scaled = np.asarray(value) * np.sqrt(400)
        assert 0.98 < np.abs(scaled).max() <= 1.0
        assert abs(scaled.mean()) < 0.1
        assert abs(scaled.std() - np.sqrt(1 / 3)) < 0.06
    assert not np.array_equal(params["kernel"][0, :600], params["bias"])


@pytest.mark.parametrize(
    ("features", "params", "expected"),
    [
        (jnp.bfloat16, jnp.float32, jnp.float32),
        (jnp.float32, jnp.float32, jnp.float32),
        (jnp.float64, jnp.float64, jnp.float64),
        # Even parameters kept in bfloat16 are computed with in float32.
        (jnp.bfloat16, jnp.bfloat16, jnp.float32),
    ],
)
@pytest.mark.parametrize("head", [ProjectionHead, LinearClassifier])
def test_heads_compute_in_at_least_float32(head, features, params, expected) -> None:
    with jax.enable_x64(True):
        module, rows = head(5, param_dtype=params), jax.ShapeDtypeStruct((3, 8), features)
        variables = jax.eval_shape(module.init, jax.random.key(0), rows)
        jaxpr = jax.make_jaxpr(module.apply)(variables, rows)
        products = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general"]
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(params)}
        assert [aval.dtype for aval in jaxpr.out_avals] == [jnp.dtype(expected)]
        assert {eqn.outvars[0].aval.dtype for eqn in products} == {jnp.dtype(expected)}
        assert {eqn.params["precision"] for eqn in products} == {(jax.lax.Precision.HIGHEST,) * 2}


def test_a_row_of_zeros_stays_zero_and_has_a_finite_gradient() -> None:
    rows = jnp.asarray(random_rows(3, 4)).at[1].set(0.0)
    weighted = jax.jit(jax.value_and_grad(lambda x: jnp.sum(unit_rows(x) * jnp.arange(4.0))))
    found, gradient = weighted(rows)
    assert np.isfinite(found)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(unit_rows(rows)[1], 0.0)


def test_rows_shorter_than_1e_12_are_divided_by_1e_12() -> None:
    with jax.enable_x64(True):
        rows = jnp.array([[3e-14, 4e-14], [3.0, 4.0], [3e-9, 4e-9]])
        expected = [[0.03, 0.04], [0.6, 0.8], [0.6, 0.8]]
        np.testing.assert_allclose(unit_rows(rows), expected, rtol=1e-12)
        slope = jax.jit(jax.grad(lambda x: unit_rows(x)[0, 0]))(rows)
        np.testing.assert_allclose(slope[0], [1e12, 0.0], rtol=1e-12)


def test_gradient_of_a_unit_row_is_orthogonal_to_it() -> None:
    with jax.enable_x64(True):
        rows, weights = np.random.default_rng(1).normal(size=(2, 3, 6))
        gradient = jax.jit(jax.grad(lambda x: jnp.sum(unit_rows(x) * weights)))(rows)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / lengths
        expected = (weights - unit * np.sum(unit * weights, axis=1, keepdims=True)) / lengths
        np.testing.assert_allclose(gradient, expected, atol=1e-14)


def test_classifier_is_one_linear_layer() -> None:
    classifier, features = LinearClassifier(num_classes=3), random_rows(4, 6)
    variables = classifier.init(jax.random.key(0), features)
    layer = variables["params"]["linear"]
    np.testing.assert_allclose(
        classifier.apply(variables, features), features @ layer["kernel"] + layer["bias"], atol=1e-5
    )
