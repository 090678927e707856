"""`--mode=plan` prints a plan, writes it where that is asked for, and has a sentence for each mistake."""

import errno
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from etils import epath

from configs import cifar10_tcl
from tcl_jax.config import defaults
from tcl_jax.errors import UserError
from tcl_jax.modes import plan as mode
from tcl_jax.parallel import make_mesh
from tcl_jax.plan.estimate import planned_run
from tcl_jax.run.workdir import Workdir
from tests.plan.formula import expected_collectives, totals

pytestmark = pytest.mark.xdist_group("plan")  # they share what is compiled

ROOT = pathlib.Path(__file__).parents[2]
WITHOUT_LIBTPU = importlib.util.find_spec("libtpu") is None


@pytest.fixture
def plan(planned, monkeypatch):
    """The plan of the demo on eight devices, which every config has here."""
    _, found = planned(8)
    monkeypatch.setattr(mode, "make_plan", lambda config, mesh, *, peak_share: found)
    return found


def test_only_a_given_workdir_is_written_to(plan, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mode.run(defaults(), None, "common")
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr().out
    assert "8 x cpu" in printed
    assert f"{plan['parameters']:,} " in printed
    gathered = plan["collectives"]["compiled"]["all-gather"]
    assert re.search(rf"all-gather +{gathered['bytes']:,} in {gathered['operations']} operations", printed)
    mode.run(defaults(), Workdir("run"), "common")
    assert list((tmp_path / "run").iterdir()) == [tmp_path / "run/plan.json"]
    assert json.loads((tmp_path / "run/plan.json").read_text()) == {"config_name": "common", **plan}


def file_in_its_place(folder, patch):
    folder.touch()


def file_above(folder, patch):
    folder.parent.touch()


def full_disk(folder, patch):
    folder.mkdir(parents=True)
    (folder / "plan.json.partial").symlink_to("/dev/full")  # every write to it fails


def read_only(folder, patch):
    def refuse(path, data):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    patch.setattr(epath.Path, "write_bytes", refuse)


@pytest.mark.parametrize(
    ("spoil", "cause", "todo"),
    [
        (file_in_its_place, "File exists", "give"),
        (file_above, "Not a directory", "give"),
        (full_disk, "No space left on device", "free space, or give"),
        (read_only, "Permission denied", "give"),
    ],
)
def test_a_plan_that_cannot_be_written_is_a_mistake_in_the_folder(
    plan, tmp_path, monkeypatch, spoil, cause, todo
):
    folder = tmp_path / "above" / "run"
    if spoil is file_in_its_place:
        folder.parent.mkdir()
    spoil(folder, monkeypatch)
    with pytest.raises(UserError) as caught:
        mode.run(defaults(), Workdir(str(folder)), "common")
    assert str(caught.value) == (
        f"The plan cannot be written to the folder {folder} ({cause}): {todo} another folder with --workdir."
    )
    assert not list(tmp_path.rglob("plan.json*"))


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0, float("nan")])
def test_impossible_share_of_the_peak(share):
    with pytest.raises(UserError, match=r"--plan_peak_share is .*, expected a number above 0 and at most 1"):
        mode.run(defaults(), None, "common", peak_share=share)


def main(*arguments):
    return subprocess.run(
        [sys.executable, "main.py", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--mode=plan", "--plan_topology=nonsense"], "error: --plan_topology is 'nonsense', expected"),
        (["--plan_topology=v5e:2x4"], "error: --plan_topology=v5e:2x4 is given with --mode=train"),
    ],
)
def test_mistake_on_the_command_line(arguments, sentence, tmp_path):
    ended = main("--config=configs/digits_tcl.py", *arguments, f"--workdir={tmp_path / 'run'}")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(sentence)
    assert ended.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(WITHOUT_LIBTPU, reason="the TPU compiler is not installed: make test-tpu-plan")
def test_resnet18_on_eight_chips_of_v5e(tmp_path):
    fields = {"model.name": "resnet18", "train.batch_size": 1024, "data.data_dir": str(tmp_path / "data")}
    arguments = ["--config=configs/cifar10_tcl.py", "--mode=plan", "--plan_topology=v5e:2x4"]
    arguments += [f"--config.{name}={value}" for name, value in fields.items()]
    ended = main(*arguments, f"--workdir={tmp_path}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    found = json.loads((tmp_path / "plan.json").read_text())
    assert found["devices"] == {"platform": "tpu", "kind": "TPU v5 lite", "count": 8}
    encoder, head = 11_168_832, 512 * 512 + 512 + 512 * 128 + 128
    assert found["parameters"] == encoder + head
    assert found["memory"]["device"] == 16 * 2**30
    assert found["state_bytes"] < found["memory"]["total"] < 4 * 2**30
    assert 0.9 < found["flops"]["compiled"] / found["flops"]["formula"] < 1.15
    config = cifar10_tcl.get_config()
    config.update_from_flattened_dict(fields)
    expected = expected_collectives(planned_run(config, make_mesh(8)), platform="tpu")
    compiled = found["collectives"]["compiled"]
    assert {kind: traffic["bytes"] for kind, traffic in compiled.items()} == totals(expected)
    # The encoder computes in bfloat16: about half of the gradient's bytes.
    assert expected["all-reduce"]["gradient"] < 0.55 * found["parameter_bytes"]
    least = found["flops"]["network_whole"] / (8 * 197e12 * 0.4)
    assert least < found["step_seconds"] < 1.05 * least


@pytest.mark.slow
@pytest.mark.skipif(WITHOUT_LIBTPU, reason="the TPU compiler is not installed: make test-tpu-plan")
def test_slice_that_does_not_exist():
    ended = main("--config=configs/digits_tcl.py", "--mode=plan", "--plan_topology=v5e:3x3")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: --plan_topology is 'v5e:3x3', which the TPU compiler refuses")
