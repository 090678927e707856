"""What an encoder is worth, in one number each: a table of metrics by name, and the user's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.errors import UserError
from tcl_jax.evaluate.knn import knn_predict
from tcl_jax.resolve import arguments_of, resolve

Metric = Callable[..., Any]
"""A function of those of `OF_FEATURES` and `OF_TRAINING` that it names -> a number, or the predicted classes."""

# For any images: features float [m, f] and labels int [m] of those that are judged, features and labels of the training
# images, and the number of classes.
OF_FEATURES = ("features", "labels", "train_features", "train_labels", "num_classes")
# After training alone: train_probe() -> classes predicted by a linear classifier that it trains; and the logits of the
# classifier that was trained with cross-entropy.
OF_TRAINING = ("train_probe", "logits")

_EXAMPLE = "my_metric.py with `def recall(features, labels): ...` -> a number, the higher the better"


class Measured(NamedTuple):
    """value: of the metric, None where it is not finite. predicted: int32 [m], the classes it predicted, if any."""

    value: float | None
    predicted: np.ndarray | None


def _knn(features: Any, train_features: Any, train_labels: Any, num_classes: int) -> np.ndarray:
    return knn_predict(features, train_features, train_labels, num_classes=num_classes)


def _linear_probe(train_probe: Callable[[], np.ndarray]) -> np.ndarray:
    return train_probe()


def _classifier(logits: np.ndarray) -> np.ndarray:
    return np.argmax(logits, axis=1)


METRICS: dict[str, Metric] = {"linear_probe": _linear_probe, "knn": _knn, "classifier": _classifier}
"""Metrics by name."""


def resolve_metric(name: str, *, field: str, available: Sequence[str]) -> tuple[str, Metric]:
    """The metric called `name`, and what results call it: for "my_metrics:recall" that is "recall".

    Args:
      name: one of `METRICS`, or "module:attribute" of the user's own.
      field: the config field that names it, for messages.
      available: names of the arguments that it can be handed.

    Raises:
      UserError: an unknown name, or a function that needs another argument.
    """
    metric = resolve(name, METRICS, field=field, example=_EXAMPLE)
    arguments_of(metric, dict.fromkeys(available), field=f"{field} ({name!r})")
    return name.rpartition(":")[2].rpartition(".")[2], metric


def resolve_metrics(names: Sequence[str], *, field: str, available: Sequence[str]) -> dict[str, Metric]:
    """The metrics of several names, as `resolve_metric` finds each, by what results call them.

    Raises:
      UserError: as there, or two that results would call the same.
    """
    found: dict[str, Metric] = {}
    for name in names:
        known_as, metric = resolve_metric(name, field=field, available=available)
        if known_as in found:
            raise UserError(f"{field} names two metrics that are called {known_as!r}: name each once.")
        found[known_as] = metric
    return found


def measure(metric: Metric, labels: np.ndarray, available: Mapping[str, Any]) -> Measured:
    """The value of a metric; of predicted classes, int [m], it is the share of those that are right.

    Args:
      labels: int [m], of the images that are judged.

    Raises:
      UserError: the metric makes neither a number nor as many classes as there are labels.
    """
    found = np.asarray(metric(**arguments_of(metric, available, field="A metric")))
    if found.shape == labels.shape and np.issubdtype(found.dtype, np.integer):
        return Measured(float(np.mean(found == labels)), found.astype(np.int32))
    if found.ndim or not np.issubdtype(found.dtype, np.number):
        raise UserError(
            f"The metric {getattr(metric, '__name__', metric)} makes {found.dtype} {list(found.shape)}, expected a "
            f"number, or {len(labels)} predicted classes."
        )
    return Measured(float(found) if np.isfinite(found) else None, None)
