"""Learning rates against their formulas, those of optax and that of the official code."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tcl_jax.errors import UserError
from tcl_jax.train.learning_rate import learning_rates, scaled_learning_rate


def test_learning_rates_for_batches_of_another_size():
    assert scaled_learning_rate(0.3, rule="none", batch_size=4096) == 0.3
    assert scaled_learning_rate(0.3, rule="linear", batch_size=4096) == pytest.approx(4.8)  # SimCLR's
    assert scaled_learning_rate(0.3, rule="linear", batch_size=64) == pytest.approx(0.075)
    # SimCLR's other rule is 0.075 sqrt(batch size).
    assert scaled_learning_rate(0.075 * 16, rule="sqrt", batch_size=1024) == pytest.approx(0.075 * 32)
    for rule in ("none", "linear", "sqrt"):
        assert scaled_learning_rate(0.3, rule=rule, batch_size=256) == 0.3


def test_cosine_from_the_peak_to_a_thousandth():
    rates = learning_rates(0.2, total_steps=50)
    expected = 0.0002 + (0.2 - 0.0002) * (1 + np.cos(np.pi * np.arange(50) / 50)) / 2
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert rates.dtype == np.float32


def test_warm_up_is_linear_and_the_cosine_follows():
    rates = learning_rates(0.2, total_steps=50, warmup_steps=10)
    np.testing.assert_allclose(rates[:10], 0.02 * np.arange(10), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(rates[10:], learning_rates(0.2, total_steps=40), rtol=1e-5)


@pytest.mark.parametrize("warmup_steps", [0, 7])
def test_the_cosine_is_that_of_optax_to_the_last_bit(warmup_steps):
    for peak in (0.3, 0.05, 4.8):
        schedule = optax.warmup_cosine_decay_schedule(
            0.0 if warmup_steps else peak, peak, warmup_steps, 53, end_value=peak / 1000
        )
        rates = learning_rates(peak, total_steps=53, warmup_steps=warmup_steps)
        np.testing.assert_array_equal(rates, np.asarray(schedule(jnp.arange(53)), np.float32))
        named = learning_rates(
            peak, total_steps=53, warmup_steps=warmup_steps, schedule="cosine", steps_per_epoch=4
        )
        np.testing.assert_array_equal(named, rates)


def official_step_rates(rate, *, epochs, steps_per_epoch, decay_epochs, decay_rate, warm_epochs):
    """As the code of Khosla et al. has it without --cosine; there the warm-up begins at 0.01, here at 0."""
    rates = []
    for epoch in range(1, epochs + 1):
        passed = np.sum(epoch > np.asarray(decay_epochs))
        adjusted = rate * decay_rate**passed if passed > 0 else rate
        for batch in range(steps_per_epoch):
            if epoch <= warm_epochs:
                p = (batch + (epoch - 1) * steps_per_epoch) / (warm_epochs * steps_per_epoch)
                rates.append(p * rate)
            else:
                rates.append(adjusted)
    return rates


@pytest.mark.parametrize("warm_epochs", [0, 2])
@pytest.mark.parametrize(
    ("name", "decay_rate", "decay_epochs"),
    [
        ("step(0.1,7,8,9)", 0.1, (7, 8, 9)),
        ("step(.5, 3)", 0.5, (3,)),
        ("step(1,4,9)", 1.0, (4, 9)),
    ],
)
def test_steps_are_those_of_the_official_code(name, decay_rate, decay_epochs, warm_epochs):
    rates = learning_rates(
        0.4, total_steps=50, warmup_steps=5 * warm_epochs, schedule=name, steps_per_epoch=5
    )
    expected = official_step_rates(
        0.4,
        epochs=10,
        steps_per_epoch=5,
        decay_epochs=decay_epochs,
        decay_rate=decay_rate,
        warm_epochs=warm_epochs,
    )
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_linear_and_constant_follow_their_formulas():
    rates = learning_rates(0.2, total_steps=50, schedule="linear")
    np.testing.assert_allclose(rates, 0.0002 + (0.2 - 0.0002) * (1 - np.arange(50) / 50), rtol=1e-5)
    np.testing.assert_array_equal(
        learning_rates(0.2, total_steps=50, schedule="constant"), np.full(50, 0.2, np.float32)
    )


@pytest.mark.parametrize("name", ["linear", "constant", "step(0.1,3)", "optax:cosine_decay_schedule"])
def test_every_schedule_follows_the_same_warm_up_and_the_peak(name):
    options = {"total_steps": 30, "warmup_steps": 10, "schedule": name, "steps_per_epoch": 5}
    rates = learning_rates(0.2, **options)
    np.testing.assert_allclose(rates[:10], 0.02 * np.arange(10), rtol=1e-5, atol=1e-9)
    assert (rates.dtype, rates.shape, rates[10]) == (np.float32, (30,), np.float32(0.2))
    np.testing.assert_allclose(learning_rates(0.6, **options), 3 * rates, rtol=1e-5)


def test_schedules_of_ones_own_and_of_optax():
    rates = learning_rates(0.2, total_steps=20, schedule="optax:cosine_decay_schedule")
    np.testing.assert_allclose(rates, 0.1 * (1 + np.cos(np.pi * np.arange(20) / 20)), rtol=1e-5, atol=1e-8)
    rates = learning_rates(
        0.2, total_steps=20, warmup_steps=4, schedule=f"{__name__}:own_schedule", steps_per_epoch=2
    )
    np.testing.assert_allclose(rates[4:], 0.2 * 0.5 ** (np.arange(16) // 2), rtol=1e-6)


def own_schedule(init_value, steps_per_epoch):
    return lambda step: init_value * 0.5 ** (step // steps_per_epoch)


def without_rate(decay_steps):
    return lambda step: step / decay_steps


def not_a_schedule(init_value):
    return init_value


def for_one_step_alone(init_value):
    return lambda step: init_value if step < 3 else init_value / 2


def below_zero(init_value, decay_steps):
    return lambda step: init_value - step


def of_another_shape(init_value):
    return lambda step: jnp.zeros((len(step), 2))


def needs_more(init_value, power):
    return lambda step: init_value


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            "cubic",
            r"train.schedule is 'cubic', expected one of cosine, linear, constant, step\(factor,epoch",
        ),
        ("step", r"train.schedule is 'step', expected 'step\(factor,epoch,...\)'"),
        ("step(factor,epoch,...)", r"expected 'step\(factor,epoch,...\)' with a factor and whole numbers"),
        ("step(0.1)", "with a factor and whole numbers"),
        ("step(0.1,2.5)", "with a factor and whole numbers"),
        ("step(-1,2)", "with a factor and whole numbers"),
        ("step(0.1,2,)", "with a factor and whole numbers"),
        ("step(0,2)", "expected a factor above 0 and at most 1, and epochs in rising order"),
        ("step(10,2)", "expected a factor above 0 and at most 1, and epochs in rising order"),
        ("step(0.1,4,3)", "expected a factor above 0 and at most 1, and epochs in rising order"),
        ("step(0.1,3,3)", "expected a factor above 0 and at most 1, and epochs in rising order"),
        ("step(0.1,3,6)", "after 3, 6 epochs, expected epochs above train.warmup_epochs, 1, and below .*, 6"),
        ("step(0.1,1)", "after 1 epochs, expected epochs above train.warmup_epochs, 1, and below .*, 6"),
        ("step(0.1,0)", "after 0 epochs, expected epochs above train.warmup_epochs, 1, and below .*, 6"),
        ("optax:no_such", "optax has no 'no_such'"),
        ("math:pi", "train.schedule names a float"),
        (f"{__name__}:without_rate", "takes no 'init_value'"),
        (f"{__name__}:not_a_schedule", "does not make an optax schedule"),
        (
            f"{__name__}:for_one_step_alone",
            "does not make an optax schedule .* function of an array of steps",
        ),
        (f"{__name__}:below_zero", "whose rate at step 6 is -.*, expected a finite number, 0 or more"),
        (f"{__name__}:of_another_shape", r"an array of shape \[2, 2\] for 2 steps, expected \[2\]"),
        (f"{__name__}:needs_more", "needs 'power', expected by name any of init_value, decay_steps"),
    ],
)
def test_what_is_not_a_schedule_is_named(schedule, message):
    with pytest.raises(UserError, match=message) as caught:
        learning_rates(0.2, total_steps=30, warmup_steps=5, schedule=schedule, steps_per_epoch=5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learning_rates(0.0, total_steps=5), "train.learning_rate is 0.0"),
        (lambda: learning_rates(float("nan"), total_steps=5), "train.learning_rate is nan"),
        (lambda: learning_rates(0.1, total_steps=5, warmup_steps=5), "5 of 5 steps"),
        (lambda: learning_rates(0.1, total_steps=5, warmup_steps=-1), "-1 of 5 steps"),
        (
            lambda: scaled_learning_rate(0.1, rule="cubic", batch_size=64),
            "train.learning_rate_scaling is 'cubic', expected one of none, linear, sqrt",
        ),
    ],
)
def test_bad_numbers_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
