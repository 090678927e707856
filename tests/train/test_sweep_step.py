"""The steps of the members of a sweep: each is the step of a single run, whichever way they share the devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcl_jax.parallel import split_batch
from tcl_jax.train.sweep_step import AtOnce, OneByOne
from tests.marks import slow
from tests.train.small import HYPER, batch, largest_difference, parts_on

pytestmark = pytest.mark.xdist_group("small")  # they share what is compiled

HYPERS = [
    HYPER._replace(k1=np.float32(k1), learning_rate=np.float32(rate), seed=np.uint32(seed))
    for k1, rate, seed in ((0.0, 0.05, 7), (50.0, 0.02, 7), (5.0, 0.1, 3))
]


@functools.cache
def at_once(devices):
    """Compiled once for all tests."""
    parts = parts_on(devices, param_dtype=jnp.float64)
    return AtOnce(parts.device_step, parts.mesh)


@pytest.mark.parametrize(
    ("way", "devices", "shared"),
    [("one by one", 1, False), ("at once", 1, True), *slow(("at once", 8, False))],
    ids=["one by one", "at once", "at once on eight devices, batches of their own"],
)
def test_each_member_makes_the_steps_of_a_single_run(way, devices, shared):
    with jax.enable_x64(True):
        parts = parts_on(devices, param_dtype=jnp.float64)
        step = OneByOne(parts.step) if way == "one by one" else at_once(devices)
        states = step.start([parts.state() for _ in HYPERS])
        seen = []
        for number in range(3):
            common = split_batch(batch(number), parts.mesh)
            own = [split_batch(batch(10 * member + number), parts.mesh) for member in range(len(HYPERS))]
            states, metrics = step(states, [common] * len(HYPERS) if shared else own, HYPERS)
            seen.append(metrics)
        found = [jax.tree.map(np.asarray, step.member(states, member)) for member in range(len(HYPERS))]

        for member, hyper in enumerate(HYPERS):
            state = parts.state()
            for number in range(3):
                images = batch(number if shared else 10 * member + number)
                state, alone = parts.step(state, split_batch(images, parts.mesh), hyper)
                for name, value in alone.items():
                    np.testing.assert_allclose(seen[number][member][name], value, rtol=1e-9, atol=1e-12)
            assert largest_difference(found[member], state) <= (0 if way == "one by one" else 1e-10)
            assert found[member].step == 3
    assert largest_difference(found[0].params, found[1].params) > 1e-4


def test_members_together_compile_once_and_take_the_memory_of_the_old_states():
    with jax.enable_x64(True):
        parts, step = parts_on(1, param_dtype=jnp.float64), at_once(1)
        states = step.start([parts.state()] * 3)
        for number in range(2):
            before = states
            states, _ = step(states, [split_batch(batch(number), parts.mesh)] * 3, HYPERS)
            assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params))
    assert step._step._cache_size() == 1
