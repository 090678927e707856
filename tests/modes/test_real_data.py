"""Training on real photographs teaches the encoder something: by main.py, against the untrained encoder.

FashionMNIST with a ResNet, CIFAR-10 with a ViT. The data are those in $TFDS_DATA_DIR, which .ci/run demands; nothing is
downloaded.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from configs import smoke
from tcl_jax.evaluate import extract_features, knn_predict
from tcl_jax.experiment.build import build_experiment

ROOT = pathlib.Path(__file__).parents[2]
DATA_DIR = os.environ.get("TFDS_DATA_DIR", "")
OVERRIDES = {
    "fashion_mnist_tcl": {"data.train_split": "train[:2048]", "probe.epochs": 1},
    "cifar10_tcl_vit": {"evaluation.metrics": ("knn",)},
}


def fields_of(name):
    return OVERRIDES[name] | {"data.data_dir": DATA_DIR}


def train(name, workdir):
    """Results of a run of main.py, compiled as a user's is: without the XLA flags of these tests."""
    options = [f"--config.{field}={value}" for field, value in fields_of(name).items()]
    ended = subprocess.run(
        [
            sys.executable,
            "main.py",
            f"--config=configs/smoke.py:{name}",
            f"--workdir={workdir}",
            *options,
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "XLA_FLAGS"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads((workdir / "results.json").read_text())


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "seen", "more"),
    [
        # 0.62 is seen of the untrained encoder, and 0.12 more after 112 steps: half of it leaves room for another
        # machine's rounding.
        ("fashion_mnist_tcl", "fashion_mnist", (0.3, 0.8), 0.06),
        # 0.255 is seen of the untrained encoder, and 0.049 more after 240 steps, of which the first quarter warm up. So
        # early, rounding alone may move that by some hundredths.
        ("cifar10_tcl_vit", "cifar10", (0.15, 0.35), 0.01),
    ],
)
def test_training_raises_knn_accuracy_clearly_above_the_untrained_encoders(
    name, folder, seen, more, tmp_path
):
    if not pathlib.Path(DATA_DIR, folder).is_dir():
        pytest.skip(f"needs a prepared {folder} in the folder TFDS_DATA_DIR")
    untrained = untrained_knn_top1(name)
    trained = train(name, tmp_path / "run")["metrics"]["knn"]
    assert seen[0] < untrained < seen[1]
    assert trained >= untrained + more
