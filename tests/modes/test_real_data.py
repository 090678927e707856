"""Training on real photographs teaches the encoder something: a ResNet on FashionMNIST, a ViT on CIFAR-10, by main.py.

The data are those in $TFDS_DATA_DIR, which .ci/run demands; nothing is downloaded.
"""

import os
import pathlib

import numpy as np
import pytest

from configs import smoke
from tcl_jax.evaluate import extract_features, knn_predict
from tcl_jax.experiment.build import build_experiment
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir
from tests.modes.as_in_use import run_main

DATA_DIR = os.environ.get("TFDS_DATA_DIR", "")
OVERRIDES = {
    "fashion_mnist_tcl": {"data.train_split": "train[:2048]", "probe.epochs": 1},
    "cifar10_tcl_vit": {
        "data.train_split": "train[:2304]",  # 32 steps
        "data.test_split": "test[:256]",
        "evaluation.metrics": ("knn",),
        "train.epochs": 1,
        "train.warmup_epochs": 0,
    },
}


def fields_of(name):
    return OVERRIDES[name] | {"data.data_dir": DATA_DIR}


def train(name, workdir):
    run_main(f"configs/smoke.py:{name}", workdir, fields_of(name))
    return Workdir(str(workdir))


def untrained_knn_top1(name):
    """kNN accuracy of the encoder that such a run begins with."""
    config = smoke.get_config(name)
    config.update_from_flattened_dict(fields_of(name))
    parts = build_experiment(config)
    state = parts.program.initial_state(config.seed)
    bank, queries = (
        extract_features(parts.program.encode, state.variables, split, batch_size=256, mesh=parts.mesh)
        for split in (parts.dataset.train, parts.dataset.test)
    )
    predicted = knn_predict(queries, bank, parts.dataset.train.labels, num_classes=10)
    return np.mean(predicted == parts.dataset.test.labels)


def needs(folder):
    if not pathlib.Path(DATA_DIR, folder).is_dir():
        pytest.skip(f"needs a prepared {folder} in the folder TFDS_DATA_DIR")


@pytest.mark.slow
def test_training_raises_knn_accuracy_clearly_above_the_untrained_encoders(tmp_path):
    needs("fashion_mnist")
    untrained = untrained_knn_top1("fashion_mnist_tcl")
    trained = train("fashion_mnist_tcl", tmp_path).read_results()["metrics"]["knn"]
    assert 0.3 < untrained < 0.8
    # 0.12 more is seen, after 112 steps: half of it leaves room for another machine's rounding.
    assert trained >= untrained + 0.06


@pytest.mark.slow
def test_an_epoch_teaches_a_vit_to_tell_views_apart(tmp_path):
    """Its kNN rises later: configs/cifar10_tcl_vit.py has it after more steps."""
    needs("cifar10")
    workdir = train("cifar10_tcl_vit", tmp_path)
    losses = [record["loss"] for record in read_metrics(workdir.metrics) if "loss" in record]
    assert losses[-1] < losses[0] - 0.1
