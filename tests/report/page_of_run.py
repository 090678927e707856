"""A run as its page is drawn from it, of any size and of random images."""

import numpy as np

from tcl_jax.report.contact_sheet import Column
from tcl_jax.report.page import RunPage
from tcl_jax.report.page_predictions import Evaluated, Examples
from tests.report.pages import DIAGNOSTICS


class Lazy:
    """Images that are made when they are asked for; `asked` counts them."""

    def __init__(self, images):
        self.images, self.asked = images, 0

    def __getitem__(self, positions):
        self.asked += len(positions)
        return self.images[positions]


def run_of(
    *,
    classes=3,
    train=40,
    test=30,
    side=8,
    channels=1,
    records=4,
    names=None,
    cross_entropy=False,
    diagnostics=False,
):
    random = np.random.RandomState(1)
    centers = random.randn(classes, 6)

    def split(count):
        labels = (np.arange(count) % classes).astype(np.int32)
        images = random.randint(0, 256, (count, side, side, channels), np.uint8)
        return Examples(Lazy(images), labels, centers[labels] + 0.2 * random.randn(count, 6))

    parts = split(train), split(test)
    labels = parts[1].labels
    predictions = {"linear_probe": labels.copy(), "knn": np.roll(labels, 1) if test > 3 else labels.copy()}
    predictions["linear_probe"][:1] = (labels[:1] + 1) % classes
    results = {
        "config_name": "a run",
        "dataset": "some data",
        "loss": "tcl",
        "checkpoint": "latest",
        "step": 10 * records,
        "best": {"step": 20, "metric": "knn", "value": 0.75} if records else None,
        "metrics": {"linear_probe": 0.875, "knn": 0.5, "silhouette": -7.5},
        "final_train_loss": 2.25 if records else None,
        "skipped_steps": 0,
        "params_sha256": "ab" * 32,
        "epochs": records,
        "train_seconds": 61.0,
        "compile_seconds": 2.0,
        "views_per_second": 1234.0 if records else None,
        "devices": {"platform": "cpu", "kind": "cpu", "count": 8},
        "versions": {"tcl_jax": "0.1.0", "jax": "0.10.2"},
    }
    if cross_entropy:
        predictions["classifier"] = labels.copy()
        results["metrics"]["classifier"] = 1.0
    curve = [{"step": 10 * (i + 1), "epoch": i, "loss": 2.0, "learning_rate": 0.1} for i in range(records)]
    curve = [r | (DIAGNOSTICS if diagnostics else {}) for r in curve]  # seconds to draw
    views = random.randint(0, 256, (2, 3, side, side, channels), np.uint8)
    return RunPage(
        results=results,
        records=curve,
        config={"seed": 3, "data.data_dir": ""},
        defaults={"seed": 0, "data.data_dir": ""},
        command="python main.py",
        training_images=train,
        evaluated=Evaluated(names or [f"class {i}" for i in range(classes)], *parts, predictions),
        views=[Column("original", "", views[0]), Column("view 1: none", "epoch 1", views[1])],
        view_names=["a", "b", "c"],
    )
