"""The configs that follow the official code, field by field, and what their docstrings say of the rest."""

import importlib
import pathlib
import re

import numpy as np
import pytest

from tcl_jax.augment.autoaugment import BINS, CIFAR
from tcl_jax.augment.autoaugment_ops import FACTORS, magnitude_of, signs_of
from tcl_jax.config import defaults
from tcl_jax.fields import flat_items
from tests.test_configs import build

# Defaults of train.py in chaitanyaanimesh/Tuned-Contrastive-Learning at commit 3706336, which are what it runs with: it
# ignores its command line.
OFFICIAL = {
    "data.train_split": "train",  # all of it; its validation is on the test set
    "data.test_split": "test",
    "data.image_size": 0,
    "augment.views": (
        "autoaug_cifar",
        "autoaug_cifar",
    ),  # RandomCrop, RandomHorizontalFlip, AutoAugment; twice
    "augment.crop_padding": 4,
    "augment.flip": True,
    "model.name": "resnet50",
    "model.stem": "cifar",  # get_resnet_contrastive_big_pretrained_cifar
    "model.width": 64,
    "model.init_from": "",  # pretrained=False
    "model.projection_dim": 128,
    "loss.name": "tcl",
    "loss.labels": "class",
    "loss.temperature": 0.1,
    "loss.k1": 5000.0,
    "loss.k2": 1.0,
    "train.batch_size": 64,
    "train.micro_batch_size": 0,
    "train.epochs": 100,
    "train.optimizer": "sgd",
    "train.learning_rate": 0.1,
    "train.learning_rate_scaling": "none",
    "train.warmup_epochs": 0,
    "train.momentum": 0.9,
    "train.weight_decay": 1e-4,
    "train.decay": "all",  # model.parameters(), biases and BatchNorm among them
    "train.ema_decay": 0.0,
    "train.precision": "float32",
    "validation.images": 0,
    "evaluation.metrics": ("linear_probe",),
    "probe.epochs": 50,
    "probe.learning_rate": 0.5,
    "probe.batch_size": 64,
}
# Its branches for the data sets.
OF_DATA = {
    "cifar100_tcl": {"data.name": "cifar100"},
    "cifar10_tcl": {"data.name": "cifar10"},
    "fashion_mnist_tcl": {"data.name": "fashion_mnist", "augment.views": ("crop_flip", "crop_flip")},
    "imagenet100_tcl": {"data.name": "imagenet100", "data.image_size": 224},
    "cub200_tcl": {"data.name": "caltech_birds2011", "data.image_size": 224},
}
DEFAULTS = dict(flat_items(defaults()))
# What is another on purpose.
DIFFERS = {
    name: {field: DEFAULTS[field] for field in ("train.precision", "evaluation.metrics")} for name in OF_DATA
}
for large in ("imagenet100_tcl", "cub200_tcl"):
    DIFFERS[large]["model.stem"] = "imagenet"


@pytest.mark.parametrize("name", OF_DATA)
def test_every_field_is_the_official_one_or_named_as_different(name):
    module, official = importlib.import_module(f"configs.{name}"), OFFICIAL | OF_DATA[name]
    assert official.keys() <= DEFAULTS.keys()
    # A field that the official code has no counterpart of (seed, checkpoints, logs) keeps its default.
    assert dict(flat_items(module.get_config())) == DEFAULTS | official | DIFFERS[name]
    for field, value in DIFFERS[name].items():
        assert value != official[field]
        assert f"`{field}`" in module.__doc__


@pytest.mark.parametrize("name", OF_DATA)
def test_docstring_says_what_no_field_holds(name):
    text = " ".join(importlib.import_module(f"configs.{name}").__doc__.split())
    assert "official" in text
    assert ("magnitudes and directions" in text) == (name != "fashion_mnist_tcl")
    assert "schedule" in text or "The rate falls by step" in text
    assert "probe" in text


def test_steps_and_learning_rates_are_those_of_the_official_schedule():
    config = importlib.import_module("configs.cifar100_tcl").get_config()
    schedule, rates = build(config, 50_000)
    assert schedule.steps == 100 * (50_000 // 64)  # drop_last
    # The official rate is set after each epoch e, by a cosine to a thousandth, for the next one.
    after = 1e-4 + (0.1 - 1e-4) * (1 + np.cos(np.pi * np.arange(100) / 100)) / 2
    official = np.repeat([0.1, *after[:-1]], 50_000 // 64)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(1e-4, rel=1e-3)
    # By step, and not an epoch late: so never more than the cosine falls in two epochs.
    np.testing.assert_array_less(rates, official + 1e-6)
    np.testing.assert_allclose(rates, official, atol=0.1 * np.pi / 2 * 2 / 100)


PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "reproduction.md").read_text()
WITH_LEVEL = {(name, level) for pair in CIFAR for name, _, level in pair} - {
    (name, level) for name in ("AutoContrast", "Equalize", "Invert") for level in range(BINS)
}


def official_bin(name, level):
    """Least and greatest magnitude that the official code draws: its ten bins divide one range evenly."""
    ranges = {"Rotate": (-30, 30), "Solarize": (0, 256), "Posterize": (4, 8)}
    ranges |= dict.fromkeys(("TranslateX", "TranslateY"), (-150 / 331, 150 / 331))
    ranges |= dict.fromkeys(("ShearX", "ShearY"), (-0.3, 0.3)) | dict.fromkeys(FACTORS, (0.1, 1.9))
    edges = np.linspace(*ranges[name], 11)
    return edges[level], edges[level + 1]


def our_magnitudes(name, level):
    magnitude = magnitude_of(name, level, BINS, 1, 1)
    return sorted({sign * magnitude + (name in FACTORS) for sign in signs_of(name)})


def rows_of_the_page():
    """(operation, level) -> the cells of the two columns."""
    table = PAGE[PAGE.index("### AutoAugment, operation by operation") :].split("\n\n")[2]
    rows, names = {}, []
    for line in table.splitlines()[2:-1]:
        first, level, official, ours = (cell.strip() for cell in line.strip("|").split("|"))
        names = re.findall(r"[A-Z]\w+", first.split(":")[0]) or names
        rows |= {(name, int(level)): (official, ours) for name in names}
    return rows


def test_the_page_has_the_magnitudes_of_every_operation_side_by_side():
    rows = rows_of_the_page()
    assert rows.keys() >= WITH_LEVEL
    for (name, level), cells in rows.items():
        official, ours = (sorted(float(x) for x in re.findall(r"[\d.]+", cell)) for cell in cells)
        expected = sorted(abs(x) for x in official_bin(name, level))
        np.testing.assert_allclose(official, expected, atol=6e-4, err_msg=f"{name} {level}")
        magnitudes = sorted({round(abs(x), 6) for x in our_magnitudes(name, level)})
        atol = 6e-2 if magnitudes[0] > 2 else 6e-4  # degrees and levels of grey have fewer digits
        np.testing.assert_allclose(ours, magnitudes, atol=atol, err_msg=f"{name} {level}")


def test_the_page_counts_the_operations_that_agree():
    agree = 0
    for name, level in WITH_LEVEL:
        least, greatest = official_bin(name, level)
        agree += any(least <= x <= greatest for x in our_magnitudes(name, level))
    text = " ".join(PAGE.split())
    assert f"For {agree} of the {len(WITH_LEVEL)} operations with a level" in text
    assert f"for {len(WITH_LEVEL) - agree} none does" in text
