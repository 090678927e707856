"""Every experiment of configs/ builds, as it is and made small, without its data."""

import importlib
import pathlib

import pytest

from configs import smoke
from tcl_jax.experiment.build import Facts, build_training, check_config
from tcl_jax.parallel import make_mesh

EXPERIMENTS = sorted(
    path.stem for path in (pathlib.Path(__file__).parents[1] / "configs").glob("[a-z]*_*.py")
)


def build(config, num_images):
    """The parts of training, for data of the size that the experiment has."""
    mesh = make_mesh()
    check_config(config, mesh)
    size = config.data.image_size or 32
    facts = Facts((size, size, 3), 10, num_images, (0.5,) * 3, (0.25,) * 3)
    return build_training(config, facts, mesh)


def test_all_experiments_are_found():
    assert {"digits_tcl", "cifar10_tcl", "cifar10_tcl_large_batch"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_builds(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    training = build(config, 50_000)
    assert training.course.epochs == config.train.epochs


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_builds_made_small(name):
    training = build(smoke.get_config(name), 4096)
    assert (training.course.batch_size, training.course.epochs) == (64, 4)
    steps = len(training.course.learning_rates)
    assert steps == 4 * (4096 - 256) // 64


def test_large_batches_have_the_learning_rate_and_the_parts_that_they_state():
    config = importlib.import_module("configs.cifar10_tcl_large_batch").get_config()
    course = build(config, 50_000).course
    assert (course.batch_size, course.micro_batches) == (4096, 16)
    assert len(course.learning_rates) == 1000 * 11
    assert course.learning_rates[110] == max(course.learning_rates) == pytest.approx(4.8)
    small = build(smoke.get_config("cifar10_tcl_large_batch"), 4096).course
    assert small.micro_batches > 1  # the way that it trains is what is tried
