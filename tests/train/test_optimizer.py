"""The optimizers against their definitions in NumPy and those of optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tcl_jax.errors import UserError
from tcl_jax.parallel import split_batch
from tcl_jax.train.optimizer import (
    DECAYS,
    OPTIMIZERS,
    descend,
    lars,
    make_optimizer,
    sgd,
)
from tests.marks import slow
from tests.train.small import HYPER, Parts, batch

SHAPES = {
    "conv": {"kernel": (3, 3, 2, 4)},
    "bn": {"scale": (4,), "bias": (4,)},
    "linear": {"kernel": (4, 5), "bias": (5,)},
}


def random_tree(seed, size=1.0):
    """Float32 numbers in the shapes of a small network's parameters."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape) * size, jnp.float32),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def kernels(tree):
    return jax.tree.map(lambda x: x.ndim > 1, tree)


def directions_of(optimizer, params, gradients):
    """The direction of each gradient in turn, at parameters that stay where they are."""
    state, found, update = optimizer.init(params), [], jax.jit(optimizer.update)
    for gradient in gradients:
        direction, state = update(gradient, state, params)
        found.append(direction)
    return found


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


@pytest.mark.parametrize("decay", DECAYS)
def test_lars_at_a_constant_rate_is_that_of_optax(decay):
    ours = theirs = random_tree(0)
    optimizer = make_optimizer("lars", momentum=0.9, weight_decay=0.01, decay=decay)
    reference = optax.lars(
        0.7,
        weight_decay=0.01,
        weight_decay_mask=kernels if decay == "kernels" else True,
        trust_coefficient=0.001,
        trust_ratio_mask=kernels,
        momentum=0.9,
    )
    state, reference_state = optimizer.init(ours), reference.init(theirs)
    step, update = jax.jit(optimizer.step), jax.jit(reference.update)
    for number in range(6):
        gradient = random_tree(number + 1)
        ours, state = step(gradient, state, ours, jnp.float32(0.7))
        # There the rate is inside the momentum: the velocities differ by it, the parameters do not.
        updates, reference_state = update(gradient, reference_state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, theirs)
    moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), ours, random_tree(0))
    assert min(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.parametrize("decay", DECAYS)
def test_lars_follows_its_formula_at_changing_rates(decay):
    params = ours = random_tree(0)
    optimizer = lars(momentum=0.8, weight_decay=0.02, decay=decay)
    state = optimizer.init(ours)
    expected = [np.asarray(p, np.float64) for p in jax.tree.leaves(params)]
    velocity = [np.zeros_like(p) for p in expected]
    for number, rate in enumerate((0.1, 2.0, 0.5)):
        gradient = random_tree(number + 1)
        for i, g in enumerate(np.asarray(g, np.float64) for g in jax.tree.leaves(gradient)):
            kernel = g.ndim > 1
            u = g + 0.02 * expected[i] if kernel or decay == "all" else g
            if kernel:
                u = 0.001 * np.sqrt(np.sum(expected[i] ** 2)) / np.sqrt(np.sum(u**2)) * u
            velocity[i] = 0.8 * velocity[i] + u
            expected[i] = expected[i] - rate * velocity[i]
        direction, state = optimizer.update(gradient, state, ours)
        ours = descend(ours, direction, np.float32(rate))
        for found, wanted in zip(jax.tree.leaves(ours), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_lars_trains_the_same_network_on_eight_devices_as_on_one():
    found = {}
    for devices in (1, 8):
        parts = Parts(devices, optimizer_name="lars")
        state, losses = parts.initial_state(), []
        for number in range(4):
            state, metrics = parts.step(state, split_batch(batch(number), parts.mesh), HYPER)
            losses.append(float(metrics["loss"]))
        found[devices] = jax.device_get(state.params), losses
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found[1][0], found[8][0])
    np.testing.assert_allclose(found[1][1], found[8][1], rtol=1e-4)


def test_lars_steps_of_kernels_know_only_the_direction_of_the_gradient():
    params, gradient = random_tree(0), random_tree(1)
    optimizer = lars(momentum=0.9, weight_decay=0.0, decay="all")
    (plain,) = directions_of(optimizer, params, [gradient])
    (large,) = directions_of(optimizer, params, [jax.tree.map(lambda g: 1000 * g, gradient)])
    for layer in ("conv", "linear"):
        np.testing.assert_allclose(large[layer]["kernel"], plain[layer]["kernel"], rtol=1e-5)
    for layer, name in (("bn", "scale"), ("bn", "bias"), ("linear", "bias")):
        np.testing.assert_array_equal(plain[layer][name], gradient[layer][name])
        np.testing.assert_array_equal(large[layer][name], 1000 * gradient[layer][name])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("decay", DECAYS)
def test_decay_reaches_kernels_alone_or_every_parameter(name, decay):
    gradient, params = random_tree(1), random_tree(0)
    with_decay, without = (
        directions_of(
            OPTIMIZERS[name](momentum=0.9, weight_decay=weight_decay, decay=decay), params, [gradient]
        )[0]
        for weight_decay in (0.5, 0.0)
    )
    decayed = jax.tree.map(lambda a, b: bool(np.any(a != b)), with_decay, without)
    assert decayed == jax.tree.map(lambda p: decay == "all" or p.ndim > 1, params)
    if name == "sgd":
        expected = jax.tree.map(lambda g, p, yes: g + 0.5 * p * yes, gradient, params, decayed)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), with_decay, expected)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("sizes", [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])  # of parameters and gradients
def test_lars_of_zero_weights_or_gradients_is_finite(sizes, weight_decay):
    params, gradient = random_tree(0, sizes[0]), random_tree(1, sizes[1])
    optimizer = lars(momentum=0.9, weight_decay=weight_decay, decay="all")
    for direction in directions_of(optimizer, params, [gradient] * 3):
        assert all(bool(jnp.all(jnp.isfinite(d))) for d in jax.tree.leaves(direction))
    if sizes == (0.0, 1.0):  # or a layer that begins at zero would stay there
        (first,) = directions_of(optimizer, params, [gradient])
        np.testing.assert_array_equal(first["conv"]["kernel"], gradient["conv"]["kernel"])


def test_the_state_of_sgd_holds_its_velocity_where_checkpoints_have_it():
    params = random_tree(0)
    for decay in DECAYS:
        state = make_optimizer("sgd", momentum=0.9, weight_decay=0.1, decay=decay).init(params)
        assert jax.tree.structure(state[1].trace) == jax.tree.structure(params)


def test_a_step_keeps_the_dtype_of_each_parameter():
    params = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.ones(2, jnp.float32)}
    direction = {"a": jnp.ones(3, jnp.float32), "b": jnp.full(2, 2.0)}
    after = descend(params, direction, np.float32(0.25))
    assert (after["a"].dtype, after["b"].dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(after["a"].astype(jnp.float32), 0.75)
    np.testing.assert_array_equal(after["b"], 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sgd(momentum=1.0, weight_decay=0.0), "momentum is 1.0"),
        (lambda: sgd(momentum=0.9, weight_decay=-1e-4), "weight_decay is -0.0001"),
        (lambda: sgd(momentum=0.9, weight_decay=float("nan")), "weight_decay is nan"),
        (lambda: lars(momentum=-0.1, weight_decay=0.0), "momentum is -0.1"),
        (lambda: lars(momentum=0.9, weight_decay=-1.0), "weight_decay is -1.0"),
        (
            lambda: make_optimizer("adam", momentum=0.9, weight_decay=0.0, decay="all"),
            "train.optimizer is 'adam', expected one of sgd, lars, adamw",
        ),
        (
            lambda: make_optimizer("sgd", momentum=0.9, weight_decay=0.0, decay="all", clip_norm=-1.0),
            "train.clip_norm is -1.0, expected 0 or more",
        ),
        (
            lambda: make_optimizer("sgd", momentum=0.9, weight_decay=0.0, decay="all", layer_decay=1.5),
            "train.layer_decay is 1.5, expected above 0 and at most 1",
        ),
        (
            lambda: make_optimizer("lars", momentum=0.9, weight_decay=0.0, decay="none"),
            "train.decay is 'none', expected one of all, kernels",
        ),
    ],
)
def test_bad_numbers_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


def steps_of(optimizer, rates, *, seed=0):
    """Parameters after a step at each rate, with random gradients."""
    params = random_tree(seed)
    state = optimizer.init(params)
    step = jax.jit(optimizer.step)
    for number, rate in enumerate(rates):
        params, state = step(random_tree(seed + number + 1), state, params, np.float32(rate))
    return params


def steps_of_optax(make, rates, *, seed=0):
    """The same by an optax optimizer whose rate is a schedule."""
    transformation = make(lambda count: jnp.asarray(rates, jnp.float32)[count])
    params = random_tree(seed)
    state, update = transformation.init(params), jax.jit(transformation.update)
    for number in range(len(rates)):
        updates, state = update(random_tree(seed + number + 1), state, params)
        params = optax.apply_updates(params, updates)
    return params


RATES = (0.0, 0.1, 0.02, 0.3)


@pytest.mark.parametrize("decay", DECAYS)
def test_adamw_is_that_of_optax(decay):
    ours = steps_of(make_optimizer("adamw", momentum=0.8, weight_decay=0.05, decay=decay), RATES)
    mask = kernels if decay == "kernels" else None
    theirs = steps_of_optax(lambda rate: optax.adamw(rate, b1=0.8, weight_decay=0.05, mask=mask), RATES)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, theirs)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        # These have the rate in the step, and lars has it inside the momentum.
        ("optax:lion", lambda rate: optax.lion(rate, weight_decay=0.05)),
        ("optax:adamw", lambda rate: optax.adamw(rate, weight_decay=0.05)),
        ("optax:lars", lambda rate: optax.lars(rate, weight_decay=0.05, momentum=0.8)),
        # These take no weight decay: it is added to the gradient.
        ("optax:adam", lambda rate: optax.chain(optax.add_decayed_weights(0.05), optax.adam(rate))),
        (
            "optax:sgd",
            lambda rate: optax.chain(optax.add_decayed_weights(0.05), optax.sgd(rate, momentum=0.8)),
        ),
        (
            "optax:scale_by_adam",
            lambda rate: optax.chain(
                optax.add_decayed_weights(0.05), optax.scale_by_adam(), optax.scale_by_learning_rate(rate)
            ),
        ),
    ],
)
def test_any_optimizer_of_optax_follows_the_schedule(name, make):
    ours = steps_of(make_optimizer(name, momentum=0.8, weight_decay=0.05, decay="all"), RATES)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, steps_of_optax(make, RATES)
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optax:no_such", r"optax has no 'no_such'"),
        ("math:fsum", r"names a function that needs 'seq', expected .* any of learning_rate, momentum"),
        ("builtins:dict", r"makes a dict, expected an optax transformation"),
    ],
)
def test_what_is_not_an_optimizer_is_named(name, message):
    with pytest.raises(UserError, match=message):
        make_optimizer(name, momentum=0.9, weight_decay=0.0, decay="all")


@pytest.mark.slow
def test_decay_of_kernels_leaves_out_what_only_has_the_axes_of_one():
    """As the class token, position embeddings, and the biases of attention, which Flax has by head."""
    params = {
        "class_token": jnp.ones((1, 1, 4)),
        "query": {"kernel": jnp.ones((4, 2, 2)), "bias": jnp.ones((2, 2))},
        "words": {"embedding": jnp.ones((9, 4))},
    }
    optimizer = make_optimizer("adamw", momentum=0.9, weight_decay=0.5, decay="kernels")
    zeros = jax.tree.map(jnp.zeros_like, params)
    after, _ = optimizer.step(zeros, optimizer.init(params), params, np.float32(1.0))
    expected = jax.tree.map(jnp.ones_like, params)
    expected["query"]["kernel"] *= 0.5
    jax.tree.map(np.testing.assert_array_equal, after, expected)


# One that has the rate in the step, one that has it within, and one that takes neither rate nor weight decay.
ALL_KINDS = (*OPTIMIZERS, "optax:lion", "optax:scale_by_adam")


@pytest.mark.parametrize("name", [ALL_KINDS[0], *slow(*ALL_KINDS[1:])])
def test_clipped_gradients_have_at_most_the_norm_over_all_parameters(name):
    options = {"momentum": 0.8, "weight_decay": 0.05, "decay": "all"}
    gradient, params = random_tree(1), random_tree(0)
    norm = float(np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in jax.tree.leaves(gradient))))

    def after(gradient, **clip):
        optimizer = make_optimizer(name, **options, **clip)
        return optimizer.step(gradient, optimizer.init(params), params, np.float32(0.1))[0]

    scaled = jax.tree.map(lambda g: g * (0.7 * norm / norm / norm), gradient)
    found, expected = after(gradient, clip_norm=0.7), after(scaled)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)
    if name != "optax:lion":  # which takes the signs
        plain = after(gradient)
        assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (found, plain)), strict=True))
    unclipped = after(gradient, clip_norm=1.01 * norm)
    jax.tree.map(np.testing.assert_array_equal, unclipped, after(gradient))
