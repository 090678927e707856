"""A plan says what a run would need, and neither reads, trains nor writes anything for it."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common, digits_tcl
from tcl_jax.errors import UserError
from tcl_jax.experiment import build as experiment
from tcl_jax.losses.contrastive import best_block_size
from tcl_jax.modes import plan
from tcl_jax.parallel import make_mesh
from tcl_jax.plan.accelerators import find_accelerator
from tcl_jax.plan.costs import Traffic, collectives, product_flops
from tcl_jax.plan.topology import topology_mesh
from tcl_jax.run.workdir import Workdir

pytestmark = pytest.mark.xdist_group("plan")  # they share what is compiled

ROOT = pathlib.Path(__file__).parents[2]
WITHOUT_LIBTPU = importlib.util.find_spec("libtpu") is None


def make_config(tmp_path_factory, **fields):
    config = digits_tcl.get_config()
    config.data.data_dir = str(tmp_path_factory.getbasetemp() / "nothing-here")
    config.update_from_flattened_dict(fields)
    return config


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A function (number of devices, fields by "part__name") -> the plan, made where no image may be read."""
    found = {}

    def forbidden(*arguments, **options):
        raise AssertionError("a plan reads and trains nothing")

    def build(*arguments):
        training = experiment.build_training(*arguments)
        step = forbidden_step(training.step)
        return types.SimpleNamespace(**vars(training) | {"step": step})

    def forbidden_step(step):
        return types.SimpleNamespace(lower=step.lower, __call__=forbidden)

    def make(devices, **fields):
        key = (devices, *sorted(fields.items()))
        if key not in found:
            fields = {name.replace("__", "."): value for name, value in fields.items()}
            config = make_config(tmp_path_factory, **fields)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(experiment, "load_dataset", forbidden)
                patch.setattr(plan, "build_training", build)
                found[key] = plan.make_plan(config, make_mesh(devices), peak_share=0.5)
            assert not pathlib.Path(config.data.data_dir).exists()
        return found[key]

    return make


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    """The real parameters and statistics of the network that is planned."""
    facts = experiment.Facts((8, 8, 1), 10, 1437, (0.5,), (0.5,))
    training = experiment.build_training(make_config(tmp_path_factory), facts, make_mesh(8))
    return training.initial_state().variables


def count(tree):
    return sum(np.asarray(leaf).size for leaf in jax.tree.leaves(tree))


def test_parameters_memory_and_steps_are_those_of_the_run(planned, variables):
    found, number = planned(8), count(variables["params"])
    assert (found["parameters"], found["parameter_bytes"]) == (number, 4 * number)
    assert found["optimizer_bytes"] == 4 * number  # one momentum for each
    # Every device has the state, and its eight images with labels, indices and weights.
    assert found["state_bytes"] == 8 * number + 4 * count(variables["batch_stats"]) + 2 * 4
    of_batch = 8 * (8 * 8 + 3 * 4)
    assert found["memory"]["arguments"] == pytest.approx(found["state_bytes"] + of_batch, abs=64)
    assert found["memory"]["aliased"] == pytest.approx(found["state_bytes"], abs=64)
    assert found["memory"]["total"] >= found["state_bytes"] + found["memory"]["temporaries"]
    assert (found["steps"], found["rows"]) == ((1437 - 100) // 64 * 60, 128)
    assert found["devices"] == {"platform": "cpu", "kind": "cpu", "count": 8}
    assert found["step_seconds"] is None  # no figures of a CPU are known


def test_flops_by_formula_are_near_those_of_the_compiled_program(planned):
    """The program has everything else on top, and the loss a second time for diagnostics."""
    flops = planned(8)["flops"]
    assert flops["loss_whole"] == 6 * 128**2 * 128
    assert flops["formula"] == (flops["network_whole"] + flops["loss_whole"]) / 8
    assert 1.0 < flops["compiled"] / flops["formula"] < 1.25


def test_collectives_of_eight_devices_are_those_of_the_formula(planned, variables):
    found = planned(8)["collectives"]
    # Of each of 128 rows: 128 numbers, label, row number, whether it is live, and seven numbers for the gradient.
    gathered = 128 * (4 * 128 + 4 + 4 + 1 + 7 * 4)
    # One gradient for two biases where a block has a shortcut, of 16, 32 and 64 channels; mean and variance of every
    # BatchNorm forward and backward; the loss and its weight.
    summed = 4 * (count(variables["params"]) - 16 - 32 - 64) + 2 * 4 * count(variables["batch_stats"]) + 2 * 4
    assert {kind: traffic["bytes"] for kind, traffic in found["compiled"].items()} == {
        "all-gather": gathered,
        "all-reduce": summed,
    }
    assert {kind: sum(parts.values()) for kind, parts in found["formula"].items()} == {
        "all-gather": gathered,
        "all-reduce": summed,
    }
    assert found["with_diagnostics"]["all-gather"]["bytes"] > gathered


def test_one_device_has_no_collectives(planned):
    found = planned(1, model__width=2)["collectives"]
    assert found == {"compiled": {}, "with_diagnostics": {}, "formula": {}}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"model__width": 2, "train__micro_batch_size": 16},  # loops around the sums of BatchNorm
        {"model__width": 2, "model__sync_batch_norm": False, "loss__name": "cross_entropy"},
    ],
)
def test_formula_of_other_settings(planned, fields):
    found = planned(8, **fields)["collectives"]
    assert {kind: sum(parts.values()) for kind, parts in found["formula"].items()} == {
        kind: traffic["bytes"] for kind, traffic in found["compiled"].items()
    }


HLO = """\
HloModule step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%wrapped (p: bf16[8]) -> bf16[64] {
  ROOT %g = bf16[64]{0:T(8,128)(2,1)} all-gather(%p), replica_groups=[1,8]<=[8], dimensions={0}
}

%body (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %r = (f32[4]{0}, /*index=1*/f32[2,3]{1,0}) all-reduce(%a, %b), replica_groups={{0,1}}, to_apply=%add
  ROOT %next = (s32[], f32[4]) tuple(%i, %r)
}

%cheap (t: f32[4]) -> f32[4] {
  ROOT %same = f32[4] copy(%t)
}

%dear (t: f32[4]) -> f32[4] {
  ROOT %moved = f32[4] collective-permute(%t), source_target_pairs={{0,1},{1,0}}
}

ENTRY %main (p: bf16[8]) -> f32[4] {
  %s = ((bf16[8]), bf16[64]) async-start(%p), calls=%wrapped
  %d = bf16[64] async-done(%s), calls=%wrapped
  %gs = (pred[4]{0}, pred[32]{0:S(1)}) all-gather-start(%q), replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  %gd = pred[32]{0} all-gather-done(%gs)
  %alone = f32[100] all-reduce(%z), replica_groups={{0},{1}}, to_apply=%add
  %w = (s32[], f32[4]) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %choice = f32[4] conditional(%i, %u, %u), branch_computations={%cheap, %dear}
}
"""


def test_collectives_in_the_text_of_a_program():
    found = collectives(HLO)
    assert found.always == {"all-gather": Traffic(2 * 64 + 32, 2), "all-reduce": Traffic(5 * (16 + 24), 5)}
    assert found.at_most == found.always | {"collective-permute": Traffic(16, 1)}
    with pytest.raises(ValueError, match="no known length"):
        collectives(HLO.replace("known_trip_count", "unknown"))


def test_products_of_a_program():
    """Of a convolution only what meets pixels: of three places the outer two see two of three."""
    image, kernel = np.zeros((2, 3, 5)), np.zeros((3, 5, 7))

    def convolve(image, kernel):
        return jax.lax.conv_general_dilated(
            image, kernel, (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
        )

    assert product_flops(jax.jit(convolve), image, kernel) == 2 * 2 * 5 * 7 * (2 + 3 + 2)
    assert product_flops(lambda x: jnp.einsum("bij,bkj->bik", x, x), np.zeros((4, 2, 3))) == 2 * 4 * 2 * 2 * 3
    with pytest.raises(ValueError, match="inside of a scan"):
        product_flops(lambda x: jax.lax.scan(lambda c, y: (c, y @ y), 0, x), np.zeros((4, 2, 2)))


def test_what_depends_on_the_platform_follows_the_mesh():
    """A plan for a TPU is made on a CPU."""
    tpu = types.SimpleNamespace(devices=np.array([types.SimpleNamespace(platform="tpu")]))
    assert experiment.compute_dtype("auto", tpu) == jnp.bfloat16
    assert experiment.compute_dtype("auto", make_mesh(1)) is None
    assert (best_block_size("cpu"), best_block_size("tpu")) == (512, 4096)


def test_the_longest_name_that_fits_tells_the_accelerator():
    assert find_accelerator("TPU v5 lite").memory == 16 * 2**30
    assert find_accelerator("TPU v5").memory == 95 * 2**30
    assert find_accelerator("NVIDIA H200").bfloat16 == 989e12
    assert find_accelerator("cpu") is None


def test_only_a_given_workdir_is_written_to(planned, tmp_path, monkeypatch, capsys):
    found = planned(8)
    monkeypatch.setattr(plan, "make_plan", lambda config, mesh, *, peak_share: found)
    monkeypatch.chdir(tmp_path)
    plan.run(common.get_config(), None, "common")
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr().out
    assert "8 x cpu" in printed
    assert f"{found['parameters']:,} " in printed
    assert f"by formula {sum(found['collectives']['formula']['all-gather'].values()):,}" in printed
    plan.run(common.get_config(), Workdir("run"), "common")
    assert list((tmp_path / "run").iterdir()) == [tmp_path / "run/plan.json"]
    assert json.loads((tmp_path / "run/plan.json").read_text()) == {"config_name": "common", **found}
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written to"):
        plan.run(common.get_config(), Workdir("file/run"), "common")


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0, float("nan")])
def test_impossible_share_of_the_peak(share):
    with pytest.raises(UserError, match=r"--plan_peak_share is .*, expected a number above 0 and at most 1"):
        plan.run(common.get_config(), None, "common", peak_share=share)


def test_a_step_too_large_for_the_memory_is_told(tmp_path_factory, monkeypatch):
    class Lowered:
        def compile(self):
            raise RuntimeError("RESOURCE_EXHAUSTED: Used 20G of 16G hbm.\nand more")

    def build(*arguments):
        training = experiment.build_training(*arguments)
        step = types.SimpleNamespace(lower=lambda *shapes: Lowered())
        return types.SimpleNamespace(**vars(training) | {"step": step})

    monkeypatch.setattr(plan, "build_training", build)
    with pytest.raises(UserError, match=r"batch_size 64 does not fit .* \(Used 20G of 16G hbm\)") as caught:
        plan.make_plan(make_config(tmp_path_factory), make_mesh(8), peak_share=0.4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["v5e", "v9:2x2", "v5e:8", "v5e:2x", "tpu v5e:2x4"])
def test_topology_that_is_no_name(name):
    with pytest.raises(UserError, match=f"--plan_topology is '{name}', expected .* as in v5e:2x4"):
        topology_mesh(name)


def test_without_the_compiler_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the TPU compiler.*pip install -e '\.\[tpu-plan\]'"):
        topology_mesh("v5e:2x4")


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
    arguments = ["--config=configs/cifar10_tcl.py", "--mode=plan", "--plan_topology=v5e:2x4"]
    arguments += ["--config.model.name=resnet18", "--config.train.batch_size=1024", f"--workdir={tmp_path}"]
    ended = main(*arguments, f"--config.data.data_dir={tmp_path / 'data'}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    found = json.loads((tmp_path / "plan.json").read_text())
    assert found["devices"] == {"platform": "tpu", "kind": "TPU v5 lite", "count": 8}
    encoder, head = 11_168_832, 512 * 512 + 512 + 512 * 128 + 128
    assert found["parameters"] == encoder + head
    assert found["memory"]["device"] == 16 * 2**30
    assert found["state_bytes"] < found["memory"]["total"] < 4 * 2**30
    assert 0.9 < found["flops"]["compiled"] / found["flops"]["formula"] < 1.15
    by_kind = found["collectives"]
    expected = {kind: sum(parts.values()) for kind, parts in by_kind["formula"].items()}
    # Of the four vectors of each BatchNorm (mean and variance, forward and backward) the TPU compiler sums three.
    expected["all-reduce"] -= by_kind["formula"]["all-reduce"]["BatchNorm"] // 4
    assert {kind: traffic["bytes"] for kind, traffic in by_kind["compiled"].items()} == expected
    # The encoder computes in bfloat16: about half of the gradient's bytes.
    assert by_kind["formula"]["all-reduce"]["gradient"] < 0.55 * found["parameter_bytes"]
    least = found["flops"]["network_whole"] / (8 * 197e12 * 0.4)
    assert least < found["step_seconds"] < 1.05 * least


@pytest.mark.slow
@pytest.mark.skipif(WITHOUT_LIBTPU, reason="the TPU compiler is not installed: make test-tpu-plan")
def test_slice_that_does_not_exist():
    ended = main("--config=configs/digits_tcl.py", "--mode=plan", "--plan_topology=v5e:3x3")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: --plan_topology is 'v5e:3x3', which the TPU compiler refuses")
