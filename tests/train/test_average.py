"""The moving average of the weights: its recurrence, its place in training, in checkpoints and in evaluation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from tcl_jax.parallel import make_mesh, split_batch
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.stored import Position
from tcl_jax.train.average import update_average
from tests.train.small import HYPER, batch, parts_on
from tests.train.stand_ins import Learning, run_loop

pytestmark = pytest.mark.xdist_group("small")  # they share what is compiled

# More steps than three have a say in it, and from the third step on it is below (1 + s) / (10 + s).
DECAY = 0.3


def recurrence(average, sequence, first_step, decay):
    """Float64 average after each of `sequence`."""
    average, found = np.asarray(average, np.float64), []
    for step, value in enumerate(sequence, start=first_step):
        d = min(decay, (1 + step) / (10 + step))
        average = d * average + (1 - d) * np.asarray(value, np.float64)
        found.append(average)
    return found


@pytest.mark.parametrize("decay", [0.01, 0.5, 0.99, 0.99999])
@pytest.mark.parametrize("first_step", [0, 3, 2_000_000])
def test_average_follows_its_recurrence(decay, first_step):
    rng = np.random.default_rng(first_step)
    sequence = rng.normal(size=(60, 5)).astype(np.float32) + 1
    ours = {"a": jnp.zeros(5)}  # from 0, where no large average hides the error of a small share
    update = jax.jit(functools.partial(update_average, decay=decay))
    for number, expected in enumerate(recurrence(np.zeros(5), sequence, first_step, decay)):
        ours = update(ours, {"a": jnp.asarray(sequence[number])}, jnp.int32(first_step + number))
        np.testing.assert_allclose(ours["a"], expected, rtol=1e-5, atol=1e-6 * np.max(np.abs(expected)))


@pytest.mark.parametrize("decay", [0.01, 0.9, 0.9999])
def test_average_lies_between_what_it_averages_and_rests_where_that_rests(decay):
    rng = np.random.default_rng(0)
    average, seen = {"a": jnp.zeros(5)}, [np.zeros(5)]
    for step in range(30):
        seen.append(rng.normal(size=5).astype(np.float32))
        average = update_average(average, {"a": jnp.asarray(seen[-1])}, jnp.int32(step), decay=decay)
        assert np.all(np.min(seen, axis=0) <= average["a"])
        assert np.all(average["a"] <= np.max(seen, axis=0))
    rest = update_average(average, average, jnp.int32(30), decay=decay)
    np.testing.assert_array_equal(rest["a"], average["a"])


def test_average_keeps_the_dtype_of_each_leaf():
    average = {"a": jnp.zeros(3, jnp.bfloat16), "b": jnp.zeros(3)}
    after = update_average(average, jax.tree.map(lambda x: x + 1, average), jnp.int32(5), decay=0.9)
    assert (after["a"].dtype, after["b"].dtype) == (jnp.bfloat16, jnp.float32)


@functools.cache
def trained(ema_decay, steps=5):
    """Copies on the host of the states of some steps of the small network, the initial one first; on eight devices.

    In 64-bit: two programs may round differently.
    """
    with jax.enable_x64(True):
        parts = parts_on(8, param_dtype=jnp.float64, ema_decay=ema_decay)
        state = parts.initial_state()
        states = [jax.tree.map(np.array, state)]
        for number in range(steps):
            state, _ = parts.step(state, split_batch(batch(number), parts.mesh), HYPER)
            states.append(jax.tree.map(np.array, state))
    return states


def test_a_step_averages_parameters_and_statistics_after_the_update():
    states = trained(DECAY)
    for leaf, ours in enumerate(jax.tree.leaves(states[-1].average)):
        first, *sequence = (jax.tree.leaves(state.variables)[leaf] for state in states)
        *_, expected = recurrence(first, sequence, 0, DECAY)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)
    initial, last = states[0], states[-1]
    jax.tree.map(np.testing.assert_array_equal, initial.average, initial.variables)
    apart = jax.tree.map(lambda a, x: np.max(np.abs(a - x)), last.average, last.variables)
    assert apart["batch_stats"]["encoder"]["bn1"]["mean"] > 1e-4
    assert apart["params"]["encoder"]["conv1"]["kernel"] > 1e-7


@pytest.mark.slow
def test_keeping_an_average_changes_nothing_of_training():
    for kept, plain in zip(trained(DECAY), trained(0.0), strict=True):
        assert plain.average is None
        without = kept._replace(average=None)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), without, plain)


def test_the_average_is_what_is_evaluated_where_one_is_kept():
    kept, plain = trained(DECAY)[-1], trained(0.0)[-1]
    assert kept.evaluated is kept.average
    assert plain.evaluated == plain.variables


def test_a_checkpoint_holds_the_average_bit_for_bit(tmp_path):
    state = jax.tree.map(lambda x: np.float32(x) if x.dtype == np.float64 else x, trained(DECAY)[-1])
    mesh = make_mesh(1)
    template = jax.eval_shape(parts_on(1, ema_decay=DECAY).initial_state)
    directory = epath.Path(tmp_path / "checkpoints")
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(jax.device_put(state), Position(1))
    with Checkpoints(directory) as checkpoints:
        restored, _ = checkpoints.restore_latest(template, mesh)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    assert restored.average["params"]["encoder"]["conv1"]["kernel"].dtype == np.float32


def test_validation_looks_at_the_average():
    class Averaging(Learning):
        """Its average is minus the number of steps, and its parameter that number."""

        def step(self, state, batch, hyper):
            state, metrics = super().step(state, batch, hyper)
            return state._replace(average={"params": {"w": -state.params["w"]}, "batch_stats": {}}), metrics

    seen = []

    def validate(variables):
        seen.append(float(variables["params"]["w"][0]))
        return 0.5

    run_loop(recorder=Averaging(), validate=validate)
    assert seen == [-6, -9]
