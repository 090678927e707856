"""What the frozen encoder makes of the images as they are, and how good that is."""

import collections
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from tcl_jax.augment.views import Views
from tcl_jax.data import Split
from tcl_jax.evaluate.features import extract_features
from tcl_jax.evaluate.metrics import Measured, Metric, NoValue, measure, of_features
from tcl_jax.evaluate.probe import ProbeSettings, linear_probe_logits
from tcl_jax.fields import metric_title
from tcl_jax.models import ContrastiveModel, LinearClassifier
from tcl_jax.models.encode import Encode


class Evaluator(NamedTuple):
    """What an evaluation is made of.

    Attributes:
      train, test: labelled images, of which the latter judge the encoder.
      outliers: images of other data, which are to be distinguished from the test images; their labels do not count.
      class_names: by label.
      trained_class_names: of the data that the model was trained on; None where they are the same.
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
    outliers: Split | None = None
    trained_class_names: Sequence[str] | None = None


class Evaluation(NamedTuple):
    """What came out.

    Attributes:
      train_features, test_features: float [n, f], of all images of each split, in order.
      labels: int32 [m], the true classes of the test images.
      metrics: values by name; None where one means nothing, as `measure` has it.
      predictions: int32 [m], classes of the test images, by the names of the metrics that predict classes.
      probe_losses: mean training loss of the linear probe in each epoch; empty where it was not trained.
      details: more of the metrics that have it, each by their names: "deviations" over draws, accuracy among the first
        five ("top_5"), that of each class by its name ("per_class"), and its mean over classes ("macro_average").
    """

    train_features: np.ndarray
    test_features: np.ndarray
    labels: np.ndarray
    metrics: dict[str, float | None]
    predictions: dict[str, np.ndarray]
    probe_losses: Sequence[float] = ()
    details: Mapping[str, Mapping[str, Any]] = {}


def evaluate(evaluator: Evaluator, variables: Mapping[str, Any]) -> Evaluation:
    """Measure the frozen encoder on every test image, by all metrics; a line says why there is no value of one.

    Args:
      variables: of the model; they are not changed.
    """
    num_classes = len(evaluator.class_names)
    train_features, test_features = features(evaluator, variables)
    probe_losses: list[float] = []

    def train_probe() -> np.ndarray:
        logits, losses = linear_probe_logits(
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
        return logits

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
        same = evaluator.trained_class_names in (None, evaluator.class_names)
        available["logits"] = np.asarray(logits) if same else NoValue("it was trained on other classes")
    if evaluator.outliers is not None:
        available["outlier_features"] = _features(evaluator, variables, evaluator.outliers)
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
        details=_details(found, evaluator.class_names),
    )


def features(evaluator: Evaluator, variables: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Encoder features of all training and of all test images: float [n, f] and [m, f]."""
    return _features(evaluator, variables, evaluator.train), _features(evaluator, variables, evaluator.test)


def _features(evaluator: Evaluator, variables: Mapping[str, Any], split: Split) -> np.ndarray:
    return extract_features(
        evaluator.encode, variables, split, batch_size=evaluator.batch_size, mesh=evaluator.mesh
    )


def _details(found: Mapping[str, Measured], class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """As `Evaluation.details`; what no metric has is left out."""
    shared = {name for name, count in collections.Counter(class_names).items() if count > 1}
    unique = [f"{name} (class {label})" if name in shared else name for label, name in enumerate(class_names)]
    by_class = {
        name: {unique[label]: float(x) for label, x in enumerate(one.per_class) if not np.isnan(x)}
        for name, one in found.items()
        if one.per_class is not None
    }
    details: dict[str, dict[str, Any]] = {
        "deviations": {name: one.deviation for name, one in found.items() if one.deviation is not None},
        "top_5": {name: one.top_5 for name, one in found.items() if one.top_5 is not None},
        "per_class": by_class,
        "macro_average": {name: float(np.mean(list(each.values()))) for name, each in by_class.items()},
    }
    return {what: values for what, values in details.items() if values}
