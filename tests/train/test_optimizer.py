"""The optimizer and its schedule against their definitions in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from tcl_jax.errors import UserError
from tcl_jax.train.optimizer import descend, learning_rates, sgd


def test_sgd_follows_the_recurrence_of_torch():
    rng = np.random.default_rng(0)
    parameter, velocity = rng.normal(size=7), np.zeros(7)
    ours = jnp.asarray(parameter, jnp.float32)
    optimizer = sgd(momentum=0.9, weight_decay=0.01)
    state = optimizer.init(ours)
    for rate in (0.1, 0.5, 0.05):
        gradient = rng.normal(size=7)
        velocity = 0.9 * velocity + gradient + 0.01 * parameter
        parameter = parameter - rate * velocity
        direction, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, ours)
        ours = descend(ours, direction, rate)
        np.testing.assert_allclose(ours, parameter, rtol=1e-5)


def test_a_step_keeps_the_dtype_of_each_parameter():
    params = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.ones(2, jnp.float32)}
    direction = {"a": jnp.ones(3, jnp.float32), "b": jnp.full(2, 2.0)}
    after = descend(params, direction, np.float32(0.25))
    assert (after["a"].dtype, after["b"].dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(after["a"].astype(jnp.float32), 0.75)
    np.testing.assert_array_equal(after["b"], 0.5)


def test_cosine_from_the_peak_to_a_thousandth():
    rates = learning_rates(0.2, total_steps=50)
    expected = 0.0002 + (0.2 - 0.0002) * (1 + np.cos(np.pi * np.arange(50) / 50)) / 2
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert rates.dtype == np.float32


def test_warm_up_is_linear_and_the_cosine_follows():
    rates = learning_rates(0.2, total_steps=50, warmup_steps=10)
    np.testing.assert_allclose(rates[:10], 0.02 * np.arange(10), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(rates[10:], learning_rates(0.2, total_steps=40), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learning_rates(0.0, total_steps=5), "learning rate is 0.0"),
        (lambda: learning_rates(float("nan"), total_steps=5), "learning rate is nan"),
        (lambda: learning_rates(0.1, total_steps=5, warmup_steps=5), "5 of 5 steps"),
        (lambda: learning_rates(0.1, total_steps=5, warmup_steps=-1), "-1 of 5 steps"),
        (lambda: sgd(momentum=1.0, weight_decay=0.0), "momentum is 1.0"),
        (lambda: sgd(momentum=0.9, weight_decay=-1e-4), "weight decay is -0.0001"),
    ],
)
def test_bad_numbers_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
