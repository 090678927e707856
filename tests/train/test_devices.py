"""The demo's training, as `main.py` does it, on one, two and eight devices: the same loss in every step.

In 64-bit nothing but the last bits may differ. In float32 a ReLU whose input is nearly 0 may flip, which changes the
gradient: from there the losses part by up to 3e-3, sooner or later as seed, compiler and processor have it.
"""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits_tcl
from tcl_jax.experiment import build, parts, program
from tcl_jax.modes import train
from tcl_jax.parallel import make_mesh
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir

STEPS = 20

# In one process, so that two do not both train on one device.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("devices")]


def by_image(config):
    config.loss.labels = "image"
    config.augment.views = ("crop_flip",) * 3


def by_class(config):
    config.data.images_per_class = 12  # which leaves rows without an image
    config.train.batch_size = 48


def long_tailed(config):
    config.data.imbalance = 10
    config.loss.class_weights = "balanced"
    config.train.batch_size = 16


def vit(config):
    config.model.update(name="tests.modes.tiny_encoder:shallow_vit", width=4, dropout=0.1, drop_path=0.2)
    config.train.update(optimizer="adamw", learning_rate=1e-3)


def convnext(config):
    name = "tests.modes.tiny_encoder:shallow_convnext"
    config.model.update(name=name, width=4, dropout=0.1, drop_path=0.2)


def own_statistics(config):
    config.model.sync_batch_norm = False


@pytest.fixture(scope="module")
def losses_on(tmp_path_factory):
    """(devices, change of the config, 64-bit or not) -> loss of each of the first steps of configs/digits_tcl.py."""

    @functools.cache
    def losses(devices, change=None, x64=False):
        config = digits_tcl.get_config()
        config.data.data_dir = str(tmp_path_factory.getbasetemp() / "data")
        config.log.every_steps = 1
        if x64:  # in which XLA's convolutions on a CPU are slow
            config.model.width = 2
        if change:
            change(config)
        workdir = Workdir(str(tmp_path_factory.mktemp("run")))
        with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True) if x64 else contextlib.nullcontext():
            patch.setattr(build, "make_mesh", lambda: make_mesh(devices))
            if x64:
                wide = functools.partial(parts.make_encoder, param_dtype=jnp.float64)
                patch.setattr(parts, "make_encoder", wide)
                patch.setattr(
                    program, "with_head", functools.partial(program.with_head, param_dtype=jnp.float64)
                )
            patch.setattr(train, "build_experiment", build_first_epoch)
            patch.setattr(train, "evaluate_run", lambda *_, **__: None)
            train.run(config, workdir, "digits_tcl")
        records = read_metrics(workdir.metrics)[:STEPS]
        assert [r["step"] for r in records] == list(range(1, STEPS + 1))
        return np.array([r["loss"] for r in records])

    return losses


def build_first_epoch(config, **options):
    """The experiment with all its learning rates, ended after one epoch; the images held out are not looked at."""
    experiment = build.build_experiment(config, **options)
    schedule = experiment.program.schedule._replace(epochs=1)
    shorter = experiment.program._replace(schedule=schedule)
    return dataclasses.replace(experiment, program=shorter, validation=None)


@pytest.mark.parametrize(
    ("devices", "change"),
    [(2, None), (8, None), (8, by_image), (8, by_class), (8, long_tailed), (8, vit), (8, convnext)],
)
def test_losses_of_twenty_steps_in_64_bit_are_those_on_one_device(losses_on, devices, change):
    one = losses_on(1, change, x64=True)
    assert np.ptp(one) > 0.1  # the steps change something
    np.testing.assert_allclose(losses_on(devices, change, x64=True), one, rtol=1e-10)  # 1e-15 is seen


def test_losses_of_twenty_steps_in_float32_are_about_those_on_one_device(losses_on):
    one, many = losses_on(1), losses_on(8)
    assert many[0] == pytest.approx(one[0], rel=1e-6)
    np.testing.assert_allclose(many, one, rtol=5e-3)


def test_statistics_of_each_device_alone_give_another_loss_from_the_first_step(losses_on):
    # 7e-3 is seen: the bounds above distinguish statistics of the global batch from those of a part.
    assert abs(losses_on(8, own_statistics)[0] / losses_on(1)[0] - 1) > 1e-3
