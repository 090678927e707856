"""Checkpoints hold the state bit for bit, in the background and on another number of devices."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from tcl_jax.errors import RunFailed
from tcl_jax.parallel import make_mesh, replicate
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.stored import Best, Position
from tcl_jax.train.state import TrainState
from tests.marks import slow


def state(step, value, mesh):
    arrays = {"kernel": jnp.full((64, 64), value), "bias": jnp.arange(5.0) * value}
    momentum = jax.tree.map(lambda x: x + 1, arrays)
    statistics = {"mean": jnp.ones(3) * value}
    return replicate(
        TrainState(jnp.int32(step), arrays, statistics, (momentum, ()), None, jnp.int32(0)), mesh
    )


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


def save_all(directory, accuracies):
    """A checkpoint for every five steps, each with an accuracy or None; which was the best in the end."""
    mesh = make_mesh(1)
    with Checkpoints(directory) as checkpoints:
        for number, accuracy in enumerate(accuracies, start=1):
            checkpoints.save(state(5 * number, number / 3, mesh), Position(number), accuracy)
        return checkpoints.best()


def damage(directory, step, item="model"):
    for path in pathlib.Path(directory / str(step) / item).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def kept(directory):
    return sorted(int(path.name) for path in directory.iterdir())


@pytest.mark.parametrize(
    ("accuracies", "best", "steps"),
    [
        ([0.5, 0.7, 0.7, 0.7, 0.6, 0.6], Best(20, 0.7), [20, 25, 30]),  # of equal ones the latest
        ([0.2, 0.9, None, 0.4, None], Best(10, 0.9), [10, 20, 25]),  # saved in the middle of an epoch
        ([None, None, None], None, [10, 15]),
        *slow(
            ([0.2, 0.9, 0.3, 0.4, 0.5], Best(10, 0.9), [10, 20, 25]),
            ([0.2, 0.3, 0.4, 0.5], Best(20, 0.5), [15, 20]),
            ([0.5, 0.7, 0.7], Best(15, 0.7), [10, 15]),
            ([None, 0.9, None, None], Best(10, 0.9), [10, 15, 20]),
            ([0.0, None, None, None], Best(5, 0.0), [5, 15, 20]),
        ),
    ],
)
def test_the_best_is_kept_besides_the_latest_two(tmp_path, accuracies, best, steps):
    directory = epath.Path(tmp_path / "checkpoints")
    assert save_all(directory, accuracies) == best
    assert kept(directory) == steps
    mesh = make_mesh(8)
    with Checkpoints(directory) as checkpoints:  # another process knows as much
        assert checkpoints.best() == best
        restored = checkpoints.restore_best(state(0, 0.0, mesh), mesh)
        latest, _ = checkpoints.restore_latest(state(0, 0.0, mesh), mesh)
    assert latest.step == 5 * len(accuracies)
    if best is None:
        assert restored is None
    else:
        assert restored[1] == Position(best.step // 5)
        jax.tree.map(np.testing.assert_array_equal, restored[0], state(best.step, best.step / 15, mesh))


def test_a_continued_run_goes_on_to_keep_the_best_of_the_first_process(tmp_path):
    directory, mesh = epath.Path(tmp_path / "checkpoints"), make_mesh(1)
    save_all(directory, [0.2, 0.9, 0.3])
    with Checkpoints(directory) as checkpoints:
        for step, accuracy in ((20, 0.5), (25, None), (30, 0.6)):
            checkpoints.save(state(step, 1.0, mesh), Position(), accuracy)
        assert checkpoints.best() == Best(10, 0.9)
    assert kept(directory) == [10, 25, 30]


def test_an_old_best_is_continued_from_only_where_nothing_newer_can_be_read(tmp_path, capsys):
    directory, mesh = epath.Path(tmp_path / "checkpoints"), make_mesh(1)
    save_all(directory, [0.9, 0.3, 0.4, 0.5])
    damage(directory, 20)
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.restore_latest(state(0, 0.0, mesh), mesh)[0].step == 15
    damage(directory, 15)
    capsys.readouterr()
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.restore_latest(state(0, 0.0, mesh), mesh)[0].step == 5
        said = capsys.readouterr().out
        assert all(f"step {step} is damaged" in said for step in (15, 20))
        checkpoints.save(state(10, 1.0, mesh), Position(), 0.95)
        assert checkpoints.best() == Best(10, 0.95)
    assert kept(directory) == [5, 10]


def test_a_damaged_best_is_named_and_no_other_stands_in_for_it(tmp_path):
    directory, mesh = epath.Path(tmp_path / "checkpoints"), make_mesh(1)
    save_all(directory, [0.9, 0.3, 0.4])
    damage(directory, 5)
    with Checkpoints(directory) as checkpoints:
        with pytest.raises(RunFailed, match=r"that of step 5, is damaged .*: take the latest"):
            checkpoints.restore_best(state(0, 0.0, mesh), mesh)
        assert checkpoints.restore_latest(state(0, 0.0, mesh), mesh)[0].step == 15


def test_a_damaged_latest_is_not_the_best(tmp_path):
    directory, mesh = epath.Path(tmp_path / "checkpoints"), make_mesh(1)
    save_all(directory, [0.2, 0.3, 0.4])
    damage(directory, 15)
    with Checkpoints(directory) as checkpoints:
        checkpoints.restore_latest(state(0, 0.0, mesh), mesh)
        assert checkpoints.best() == Best(10, 0.3)


def test_a_damaged_accuracy_costs_no_more_than_itself(tmp_path):
    directory, mesh = epath.Path(tmp_path / "checkpoints"), make_mesh(1)
    save_all(directory, [0.9, 0.3, 0.4])
    damage(directory, 5, "metrics")
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.best() == Best(15, 0.4)
        assert checkpoints.restore_latest(state(0, 0.0, mesh), mesh)[0].step == 15
