"""A checkpoint with any one of its files cut short, emptied, overwritten or removed: never a wrong value."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging
from etils import epath

from tcl_jax.errors import RunFailed
from tcl_jax.parallel import make_mesh
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.stored import Best, Position, read_latest
from tcl_jax.train.state import TrainState
from tests.marks import slow

DAMAGES = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "overwritten": lambda path: path.write_bytes(b'{"tree": [1], "epoch": "no"}'),
    "removed": lambda path: path.unlink(),
}


def state(step):
    rng = np.random.default_rng(step)  # too many bits for TensorStore to keep them beside their name
    arrays = {"kernel": jnp.asarray(rng.normal(size=(64, 64))), "bias": jnp.arange(5.0) * step}
    return TrainState(jnp.int32(step), arrays, {"mean": jnp.ones(3) * step}, (), None, jnp.int32(step))


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """Checkpoints of step 5, the best, and of step 10."""
    logging.set_verbosity(logging.FATAL)  # as main.py does
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(epath.Path(directory)) as checkpoints:
        checkpoints.save(state(5), Position(1), 0.5)
        checkpoints.save(state(10), Position(2), 0.4)
    return directory


def restore(directory):
    with Checkpoints(epath.Path(directory)) as checkpoints:
        restored = checkpoints.restore_latest(state(0), make_mesh(1))
        assert checkpoints.best() == Best(5, 0.5)
    return restored


@pytest.mark.parametrize("damage", ["cut short", *slow("emptied", "overwritten", "removed")])
def test_a_damaged_file_costs_its_checkpoint_or_nothing(intact, tmp_path, capsys, damage):
    files = sorted(path.relative_to(intact) for path in (intact / "10").rglob("*") if path.is_file())
    assert len(files) > 10
    costs = []
    for number, file in enumerate(files):
        directory = tmp_path / str(number)
        shutil.copytree(intact, directory)
        DAMAGES[damage](directory / file)
        restored, position = restore(directory)
        step, said = int(restored.step), capsys.readouterr().out
        assert step in (5, 10), file
        jax.tree.map(np.testing.assert_array_equal, restored, state(step))
        assert position == Position(step // 5)
        assert ("The checkpoint of step 10 is damaged (" in said) == (step == 5), file
        if step == 5:
            costs.append(str(file))
    for part in ("model", "training"):
        assert f"10/{part}/manifest.ocdbt" in costs
        assert any(file.startswith(f"10/{part}/d/") for file in costs)  # the arrays
    assert "10/position/metadata" in costs


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_changed_byte_among_the_arrays_costs_the_checkpoint(intact, tmp_path, capsys, place):
    directory = tmp_path / "checkpoints"
    shutil.copytree(intact, directory)
    path = max((directory / "10").rglob("d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 16
    path.write_bytes(data)
    restored, position = restore(directory)
    assert "The checkpoint of step 10 is damaged (" in capsys.readouterr().out
    assert (int(restored.step), position) == (5, Position(1))


def test_the_parts_of_a_checkpoint_are_read_alone_and_checked_alone(intact, tmp_path, capsys):
    directory = tmp_path / "checkpoints"
    shutil.copytree(intact, directory)
    shutil.rmtree(directory / "10" / "training")
    found = read_latest(epath.Path(directory), {"model": state(0).items()["model"]}, make_mesh(1))
    assert (found.step, found.damaged, list(found.items)) == (10, (), ["model"])
    jax.tree.map(np.testing.assert_array_equal, found.items["model"], state(10).items()["model"])
    path = max((directory / "10" / "model").rglob("d/*"), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[::-1])
    found = read_latest(epath.Path(directory), {"model": state(0).items()["model"]}, make_mesh(1))
    assert (found.step, found.damaged) == (5, (10,))
    assert "The checkpoint of step 10 is damaged (" in capsys.readouterr().out


def test_one_checksum_for_each_part(intact):
    stored = json.loads((intact / "10" / "position" / "metadata").read_text())["checksum"]
    assert sorted(stored) == ["model", "training"]
    assert stored["model"] != stored["training"]


@pytest.mark.parametrize("folder", ["10", "10/model", "10/training", "10/position", "10/model/d"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_checkpoint_without_a_folder_is_passed_over(intact, tmp_path, folder, empty):
    directory = tmp_path / "checkpoints"
    shutil.copytree(intact, directory)
    shutil.rmtree(directory / folder)
    if empty:
        (directory / folder).mkdir()
    restored, position = restore(directory)
    assert (int(restored.step), position) == (5, Position(1))


def test_the_step_of_a_damaged_checkpoint_is_saved_anew(intact, tmp_path):
    directory = tmp_path / "checkpoints"
    shutil.copytree(intact, directory)
    DAMAGES["emptied"](directory / "10" / "model" / "manifest.ocdbt")
    with Checkpoints(epath.Path(directory)) as checkpoints:
        assert checkpoints.restore_latest(state(0), make_mesh(1))[0].step == 5
        checkpoints.save(state(10), Position(2), 0.4)
    restored, _ = restore(directory)
    jax.tree.map(np.testing.assert_array_equal, restored, state(10))


def test_what_a_killed_process_left_of_a_checkpoint_is_removed_with_the_next_save(intact, tmp_path):
    directory = tmp_path / "checkpoints"
    shutil.copytree(intact, directory)
    shutil.copytree(intact / "10", directory / "13.orbax-checkpoint-tmp")
    restored, _ = restore(directory)
    assert restored.step == 10
    with Checkpoints(epath.Path(directory)) as checkpoints:
        checkpoints.save(state(15), Position(3))
    assert sorted(path.name for path in pathlib.Path(directory).iterdir()) == ["10", "15", "5"]


def test_where_every_checkpoint_is_damaged_the_run_fails(intact, tmp_path):
    directory = tmp_path / "checkpoints"
    shutil.copytree(intact, directory)
    for path in directory.glob("*/position/metadata"):
        DAMAGES["cut short"](path)
    with pytest.raises(RunFailed, match=r"None of the 2 checkpoints in .* can be read .*another --workdir"):
        restore(directory)
