"""Every experiment of configs/ builds, as it is and made small, without its data."""

import pathlib
import re

import pytest

from tcl_jax.config import known, load
from tcl_jax.experiment.parts import make_parts
from tcl_jax.experiment.program import Facts, make_program, make_settings
from tcl_jax.parallel import make_mesh

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_an_experiment_imports_nothing_that_the_wheel_has_elsewhere(path):
    """There `configs` is `tcl_jax.configs`: an experiment is found by its name, with `load`."""
    modules = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), flags=re.MULTILINE)
    assert set(modules) <= {"ml_collections", "tcl_jax"}


def build(config, num_images):
    """Schedule and learning rates, for data of the size that the experiment has."""
    size = config.data.image_size or 32
    facts = Facts((size, size, 3), 10, num_images, (0.5,) * 3, (0.25,) * 3)
    schedule = make_program(config, make_parts(config, make_mesh()), facts).schedule
    return schedule, make_settings(config, facts, schedule).learning_rates


@pytest.mark.parametrize("name", known())
def test_experiment_builds(name):
    config = load(name)
    schedule, rates = build(config, 50_000)
    assert len(rates) == schedule.steps >= config.train.epochs


@pytest.mark.slow
@pytest.mark.parametrize("name", known())
def test_experiment_builds_made_small(name):
    schedule, rates = build(load(f"smoke:{name}"), 4096)
    assert (schedule.batch_size, schedule.epochs) == (64, 4)
    assert len(rates) == 4 * (4096 - 256) // 64


def test_large_batches_have_the_learning_rate_and_the_parts_that_they_state():
    config = load("cifar10_tcl_large_batch")
    schedule, rates = build(config, 50_000)
    assert (schedule.batch_size, schedule.micro_batches) == (4096, 16)
    assert len(rates) == 1000 * 11
    assert rates[110] == max(rates) == pytest.approx(4.8)
    small, _ = build(load("smoke:cifar10_tcl_large_batch"), 4096)
    assert small.micro_batches > 1  # the way that it trains is what is tried
