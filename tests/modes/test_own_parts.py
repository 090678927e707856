"""A user's own encoder, policy, metric and log through a whole run: stopped, continued, evaluated, swept, exported.

A ViT and a ConvNeXt of the package go the same way.
"""

import json
import os
import signal
import sys

import jax
import numpy as np
import pytest
from jax import export as jax_export

from tcl_jax import load_encoder
from tcl_jax.errors import Interrupted, UserError
from tcl_jax.experiment import build
from tcl_jax.experiment.build import build_experiment
from tcl_jax.experiment.parts import make_parts
from tcl_jax.modes import evaluate, export, plan, report, sweep, train
from tcl_jax.parallel import make_mesh
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.sweep_step import OneByOne
from tests.modes.tiny import copy_of, tiny_config

# tests/docs/test_extending.py has a quick one.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("own"), pytest.mark.usefixtures("shared_parts")]

# A small ViT, without BatchNorm, with dropout.
ENCODER = """
from flax import linen as nn

class Encoder(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        x = nn.Conv(8, (4, 4), strides=4)(images).reshape(images.shape[0], -1, 8)
        x = x + self.param("positions", nn.initializers.normal(0.02), x.shape[1:])
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(y, y)
        y = nn.gelu(nn.Dense(16)(nn.LayerNorm()(x)))
        x = x + nn.Dropout(0.1, deterministic=not train)(nn.Dense(8)(y))
        return nn.LayerNorm()(x).mean(axis=1)

def make():
    return Encoder()
"""
PARTS = """
import jax, jax.numpy as jnp, numpy as np

def shifted(key, image):
    return jnp.roll(image, jax.random.randint(key, (2,), -1, 2), (0, 1))

def brightness(features, labels):
    return -float(np.mean(features[:, 0]))

class Log:
    def __init__(self, path):
        self.path = path

    def append(self, record):
        with open(self.path, "a") as file:
            print(record["step"], *sorted(record), file=file)

def log(workdir, after_step):
    return Log(f"{workdir}/own_{after_step}.txt")
"""
VIT, CONVNEXT = "tests.modes.tiny_encoder:shallow_vit", "tests.modes.tiny_encoder:shallow_convnext"
WIDTHS = {VIT: 4, CONVNEXT: 6}
FEATURES = {"own_encoder:make": 8, VIT: 3 * 4, CONVNEXT: 8 * 3}


@pytest.fixture(
    scope="module",
    params=[
        "own_encoder:make",
        pytest.param(VIT, id="vit"),
        pytest.param(CONVNEXT, id="convnext"),
    ],
)
def config(request, data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_encoder.py").write_text(ENCODER)
    (folder / "own_parts.py").write_text(PARTS)
    sys.path.insert(0, str(folder))
    config = copy_of(tiny_config(data_dir), model__name=request.param)
    if request.param != "own_encoder:make":
        config.model.update(dropout=0.1, drop_path=0.2, width=WIDTHS[request.param])
        config.train.update(optimizer="adamw", learning_rate=3e-3)
    config.augment.views = ("own_parts:shifted", "crop_flip")
    config.validation.metric = "own_parts:brightness"
    config.evaluation.metrics = ("linear_probe", "knn", "own_parts:brightness")
    config.log.to = ("tensorboard", "own_parts:log")
    yield config
    sys.path.remove(str(folder))
    for name in ("own_encoder", "own_parts"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def finished(config, shared_parts, tmp_path_factory):
    workdir = Workdir(str(tmp_path_factory.mktemp("finished")))
    train.run(config, workdir, "digits_tcl")
    return workdir


def found_in(workdir):
    results = workdir.read_results()
    return {name: results[name] for name in ("params_sha256", "metrics", "probe_losses", "best", "step")}


def test_it_trains_and_its_own_metric_decides_which_checkpoint_is_the_best(finished):
    results = finished.read_results()
    assert list(results["metrics"]) == ["linear_probe", "knn", "brightness"]
    assert results["metrics"]["knn"] > 0.2
    values = {
        r["step"]: r["validation_brightness"] for r in read_metrics(finished.metrics) if "loss" not in r
    }
    best = max(values, key=lambda step: (values[step], step))
    assert results["best"] == {"step": best, "metric": "brightness", "value": values[best]}
    page = (finished.report / "index.html").read_text()
    assert f"{results['metrics']['brightness']:.4f}" in page
    lines = (finished.path / "own_0.txt").read_text().splitlines()
    assert len(lines) == len(read_metrics(finished.metrics))


def test_stopped_and_continued_it_ends_as_it_would_have_to_the_last_bit(
    finished, config, tmp_path, monkeypatch
):
    done = []

    def stopping(step):
        def wrapped(*arguments):
            done.append(1)
            if len(done) == 8:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(*arguments)

        return wrapped

    workdir = Workdir(str(tmp_path))
    monkeypatch.setattr(train, "OneByOne", lambda step: OneByOne(stopping(step)))
    with pytest.raises(Interrupted, match="after step 8, which is saved"):
        train.run(config, workdir, "digits_tcl")
    train.run(config, workdir, "digits_tcl")
    assert found_in(workdir) == found_in(finished)
    assert (workdir.path / "own_8.txt").exists()


def test_it_is_evaluated_and_its_page_made_again(finished, config):
    before = found_in(finished)
    evaluate.run(config, finished, "digits_tcl")
    assert found_in(finished) == before
    evaluate.run(config, finished, "digits_tcl", checkpoint="best")
    assert json.loads(finished.results_best.read_text())["step"] == before["best"]["step"]
    report.run(config, finished, "digits_tcl")
    assert found_in(finished) == before


def test_a_member_of_a_sweep_is_its_single_run(finished, config, tmp_path):
    workdir = Workdir(str(tmp_path))
    sweep.run(config, workdir, "digits_tcl", ["seed=0,1"])
    assert found_in(Workdir(str(tmp_path / "seed=0"))) == found_in(finished)
    assert "brightness" in (tmp_path / "report" / "comparison.md").read_text()


def test_it_is_exported_and_loaded_again(finished, config, capsys):
    export.run(finished)
    of_own = config.model.name == "own_encoder:make"
    assert ("the names and layout of Flax" in capsys.readouterr().out) == of_own
    images = build_experiment(config).dataset.test.images[:9]
    of_run, of_file = load_encoder(finished.path), load_encoder(finished.encoder)
    assert of_run(images).shape == (9, FEATURES[config.model.name])
    np.testing.assert_array_equal(of_run(images), of_file(images))
    np.testing.assert_array_equal(of_run.project(images), of_file.project(images))
    assert of_file.description == of_run.description
    assert of_run.description.model == config.model.name
    export.run(finished, format="stablehlo")
    program = jax_export.deserialize(bytearray((finished.path / "encoder.stablehlo").read_bytes()))
    np.testing.assert_allclose(program.call(images), of_run(images), rtol=1e-6, atol=1e-6)


def test_training_can_begin_with_its_exported_weights(finished, config):
    export.run(finished)
    begins = copy_of(config, model__init_from=str(finished.encoder))
    state = build_experiment(begins, begins=True).program.initial_state(7)
    trained = load_encoder(finished.path)._variables["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, dict(state.params["encoder"]), dict(trained))
    if begins.model.name == "own_encoder:make":  # which takes no width
        make_parts(copy_of(begins, model__width=99), make_mesh(1), begins=True)
    other = copy_of(
        begins, model__name="tests.modes.tiny_encoder:Tiny", model__dropout=0.0, model__drop_path=0.0
    )
    refused = r"does not fit the encoder Tiny .*conv0/kernel is missing|holds another encoder .*:Tiny' here"
    with pytest.raises(UserError, match=refused):
        build_experiment(other, begins=True)


def test_in_micro_batches_on_one_device_it_has_the_losses_of_whole_batches_on_eight(
    finished, config, tmp_path, monkeypatch
):
    workdir = Workdir(str(tmp_path))
    monkeypatch.setattr(build, "make_mesh", lambda: make_mesh(1))
    monkeypatch.setattr(train, "evaluate_run", lambda *_, **__: None)
    train.run(copy_of(config, train__micro_batch_size=8), workdir, "digits_tcl")
    found, expected = (
        [r["loss"] for r in read_metrics(w.metrics) if "loss" in r] for w in (workdir, finished)
    )
    assert np.ptp(expected) > 0.01  # the steps change something
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_its_plan_has_the_parameters_of_the_run_and_what_its_devices_exchange(finished, config, tmp_path):
    plan.run(config, Workdir(str(tmp_path)), "digits_tcl")
    found = json.loads((tmp_path / "plan.json").read_text())
    variables = load_encoder(finished.path)._variables
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert (found["parameters"], found["devices"]["count"]) == (parameters, 8)
    assert found["memory"]["total"] > found["state_bytes"] > 8 * parameters
    assert found["flops"]["compiled"] > found["flops"]["formula"]  # narrow networks: much beside products
    traffic = {kind: each["bytes"] for kind, each in found["collectives"]["compiled"].items()}
    # Of 64 views the projection, what belongs to it, and seven numbers.
    assert traffic.pop("all-gather") == 64 * (4 * 128 + 9 + 28)
    # The gradient, loss and weight; of a ViT's token and positions the compiler sums a part twice.
    assert traffic == {"all-reduce": pytest.approx(4 * parameters + 8, abs=400)}


def test_an_encoder_whose_batch_norm_cannot_share_its_statistics_says_so_on_many_devices(data_dir):
    alone = copy_of(tiny_config(data_dir), model__name=f"{__name__}:own_statistics")
    with pytest.raises(UserError, match=r"model.sync_batch_norm is True, but .* takes no 'axis_name'"):
        build_experiment(alone)
    build_experiment(copy_of(alone, model__sync_batch_norm=False))


def own_statistics():
    from tests.modes.tiny_encoder import Tiny

    return Tiny(width=2)
