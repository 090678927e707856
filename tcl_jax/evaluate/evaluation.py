"""What the frozen encoder makes of the images as they are, and how good that is."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from tcl_jax.augment.views import Views
from tcl_jax.data import Split
from tcl_jax.evaluate.features import extract_features
from tcl_jax.evaluate.metrics import Metric, measure, of_features
from tcl_jax.evaluate.probe import ProbeSettings, linear_probe
from tcl_jax.fields import metric_title
from tcl_jax.models import ContrastiveModel, LinearClassifier
from tcl_jax.models.encode import Encode


class Evaluator(NamedTuple):
    """What an evaluation is made of.

    Attributes:
      train, test: labelled images, of which the latter judge the encoder.
      class_names: by label.
      model, encode: the model, and its encoder compiled.
      metrics: by what results call them.
      probe_views: one augmented view per image, for the linear probe.
      probe: settings of the linear probe.
      seed: of the probe.
      batch_size: images that go through the encoder together, over all devices.
      mesh: all devices.
    """

    train: Split
    test: Split
    class_names: Sequence[str]
    model: ContrastiveModel
    encode: Encode
    metrics: Mapping[str, Metric]
    probe_views: Views
    probe: ProbeSettings
    seed: int
    batch_size: int
    mesh: Mesh


class Evaluation(NamedTuple):
    """What came out.

    Attributes:
      train_features, test_features: float [n, f], of all images of each split, in order.
      labels: int32 [m], the true classes of the test images.
      metrics: values by name; None where one means nothing, as `measure` has it.
      predictions: int32 [m], classes of the test images, by the names of the metrics that predict classes.
      probe_losses: mean training loss of the linear probe in each epoch; empty where it was not trained.
    """

    train_features: np.ndarray
    test_features: np.ndarray
    labels: np.ndarray
    metrics: dict[str, float | None]
    predictions: dict[str, np.ndarray]
    probe_losses: Sequence[float] = ()


def evaluate(evaluator: Evaluator, variables: Mapping[str, Any]) -> Evaluation:
    """Measure the frozen encoder on every test image, by all metrics; a line says why there is no value of one.

    Args:
      variables: of the model; they are not changed.
    """
    num_classes = len(evaluator.class_names)
    train_features, test_features = features(evaluator, variables)
    probe_losses: list[float] = []

    def train_probe() -> np.ndarray:
        predicted, losses = linear_probe(
            evaluator.model,
            variables,
            evaluator.train,
            test_features,
            train_features=train_features,
            views=evaluator.probe_views,
            num_classes=num_classes,
            seed=evaluator.seed,
            mesh=evaluator.mesh,
            **evaluator.probe._asdict(),
        )
        probe_losses[:] = losses
        return predicted

    available = of_features(
        test_features,
        evaluator.test.labels,
        train_features,
        evaluator.train.labels,
        num_classes=num_classes,
        mesh=evaluator.mesh,
        say=functools.partial(print, flush=True),
    )
    available["train_probe"] = train_probe
    if isinstance(evaluator.model.head, LinearClassifier):
        logits: Any = evaluator.model.apply(variables, test_features, method="apply_head")
        available["logits"] = np.asarray(logits)
    found = {
        name: measure(metric, evaluator.test.labels, available) for name, metric in evaluator.metrics.items()
    }
    for why_none in dict.fromkeys(one.why_none for one in found.values() if one.why_none):
        names = [metric_title(name) for name, one in found.items() if one.why_none == why_none]
        print(f"Not reported: {', '.join(names)}, as {why_none}.", flush=True)
    return Evaluation(
        train_features,
        test_features,
        evaluator.test.labels,
        metrics={name: one.value for name, one in found.items()},
        predictions={name: one.predicted for name, one in found.items() if one.predicted is not None},
        probe_losses=probe_losses,
    )


def features(evaluator: Evaluator, variables: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Encoder features of all training and of all test images: float [n, f] and [m, f]."""
    train, test = (
        extract_features(
            evaluator.encode, variables, split, batch_size=evaluator.batch_size, mesh=evaluator.mesh
        )
        for split in (evaluator.train, evaluator.test)
    )
    return train, test
