"""Checkpoints hold the state bit for bit, in the background and on another number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from tcl_jax.parallel import make_mesh, replicate
from tcl_jax.train.checkpoint import Checkpoints, Position
from tcl_jax.train.state import TrainState


def state(step, value, mesh):
    arrays = {"kernel": jnp.full((64, 64), value), "bias": jnp.arange(5.0) * value}
    momentum = jax.tree.map(lambda x: x + 1, arrays)
    return replicate(TrainState(jnp.int32(step), arrays, {"mean": jnp.ones(3) * value}, (momentum, ())), mesh)


def test_nothing_saved_is_none(tmp_path):
    mesh = make_mesh(1)
    with Checkpoints(epath.Path(tmp_path / "checkpoints")) as checkpoints:
        assert checkpoints.restore_latest(state(0, 0.0, mesh), mesh) is None


@pytest.mark.parametrize(("written_on", "read_on"), [(1, 1), (8, 1), (1, 8)])
def test_latest_of_two_kept_comes_back_on_any_number_of_devices(tmp_path, written_on, read_on):
    directory = epath.Path(tmp_path / "checkpoints")
    mesh = make_mesh(written_on)
    with Checkpoints(directory) as checkpoints:
        for step in (5, 10, 15):
            checkpoints.save(state(step, step / 3, mesh), Position(step // 5, 1.5 * step, 0.5))
    assert sorted(int(path.name) for path in directory.iterdir()) == [10, 15]
    mesh = make_mesh(read_on)
    with Checkpoints(directory) as checkpoints:
        restored, position = checkpoints.restore_latest(state(0, 0.0, mesh), mesh)
    assert position == Position(3, 22.5, 0.5)
    expected = state(15, 15 / 3, mesh)
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)
    assert all(len(leaf.sharding.device_set) == read_on for leaf in jax.tree.leaves(restored))


def test_a_state_may_be_donated_as_soon_as_save_returns(tmp_path):
    mesh = make_mesh(1)
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    with Checkpoints(epath.Path(tmp_path / "checkpoints")) as checkpoints:
        current = state(1, 7.0, mesh)
        checkpoints.save(current, Position())
        for _ in range(20):
            current = step(current)
        jax.block_until_ready(current)
    with Checkpoints(epath.Path(tmp_path / "checkpoints")) as checkpoints:
        restored, _ = checkpoints.restore_latest(state(0, 0.0, mesh), mesh)
    jax.tree.map(np.testing.assert_array_equal, restored, state(1, 7.0, mesh))
