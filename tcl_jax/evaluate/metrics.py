"""What an encoder is worth, in one number each: a table of metrics by name, and the user's own."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from tcl_jax.errors import UserError
from tcl_jax.evaluate.arguments import check_features, check_labels, count_not_finite
from tcl_jax.evaluate.knn import knn_predict
from tcl_jax.evaluate.logistic_regression import logistic_regression_predict
from tcl_jax.evaluate.retrieval import Retrieval, retrieval_metrics
from tcl_jax.resolve import arguments_of, resolve

Metric = Callable[..., Any]
"""A function of those of `OF_FEATURES` and `OF_TRAINING` that it names -> a number, or the predicted classes."""

# For any images: features float [m, f] and labels int [m] of those that are judged, features and labels of the training
# images, the number of classes, and retrieval() -> Retrieval among those that are judged.
OF_FEATURES = ("features", "labels", "train_features", "train_labels", "num_classes", "retrieval")
# After training alone: train_probe() -> classes predicted by a linear classifier that it trains; and the logits of the
# classifier that was trained with cross-entropy.
OF_TRAINING = ("train_probe", "logits")

# Whose they are, in messages.
_IMAGES = {
    "features": "evaluated",
    "labels": "evaluated",
    "logits": "evaluated",
    "train_features": "training",
    "train_labels": "training",
}

_EXAMPLE = "my_metric.py with `def recall(features, labels): ...` -> a number, the higher the better"


class Measured(NamedTuple):
    """What came out.

    Attributes:
      value: of the metric; None where it means nothing.
      predicted: int32 [m], the classes it predicted, if any, and if their accuracy means something.
      why_none: why the value is None, in a few words; "" where it is a number.
    """

    value: float | None
    predicted: np.ndarray | None
    why_none: str = ""


def _knn(features: Any, train_features: Any, train_labels: Any, num_classes: int) -> np.ndarray:
    return knn_predict(features, train_features, train_labels, num_classes=num_classes)


def _linear_probe(train_probe: Callable[[], np.ndarray]) -> np.ndarray:
    return train_probe()


def _logistic_regression(
    features: Any, train_features: Any, train_labels: Any, num_classes: int
) -> np.ndarray:
    return logistic_regression_predict(train_features, train_labels, features, num_classes=num_classes)


def _classifier(logits: np.ndarray) -> np.ndarray:
    return np.argmax(logits, axis=1)


def _of_retrieval(name: str) -> Metric:
    def metric(retrieval: Callable[[], Retrieval]) -> float:
        return getattr(retrieval(), name)

    return metric


_RETRIEVAL = tuple(name for name in Retrieval._fields if name not in ("queries", "left_out"))

METRICS: dict[str, Metric] = {
    "linear_probe": _linear_probe,
    "knn": _knn,
    "logistic_regression": _logistic_regression,
    "classifier": _classifier,
    **{name: _of_retrieval(name) for name in _RETRIEVAL},
}
"""Metrics by name."""

GROUPS: dict[str, Sequence[str]] = {"retrieval": _RETRIEVAL}
"""Names that stand for several metrics where several may be named."""


def of_features(
    features: np.ndarray,
    labels: np.ndarray,
    train_features: np.ndarray,
    train_labels: np.ndarray,
    *,
    num_classes: int,
    mesh: Mesh,
    say: Callable[[str], Any],
) -> dict[str, Any]:
    """The arguments of `OF_FEATURES` for `measure`. Neighbours are sorted once, when the first metric asks for them.

    Args:
      say: is given a line where images are left out of retrieval.
    """

    @functools.cache
    def retrieval() -> Retrieval:
        found = retrieval_metrics(features, labels, mesh=mesh)
        if found.left_out:
            say(
                f"Retrieval is the mean over {found.queries:,} of the {len(labels):,} evaluated images: the others are "
                "the only ones of their class."
            )
        return found

    return dict(
        features=features,
        labels=labels,
        train_features=train_features,
        train_labels=train_labels,
        num_classes=num_classes,
        retrieval=retrieval,
    )


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

    Args:
      names: also those of `GROUPS`.

    Raises:
      UserError: as there, or two that results would call the same.
    """
    found: dict[str, Metric] = {}
    for name in itertools.chain.from_iterable(GROUPS.get(name, (name,)) for name in names):
        known_as, metric = resolve_metric(name, field=field, available=available)
        if known_as in found:
            raise UserError(f"{field} names two metrics that are called {known_as!r}: name each once.")
        found[known_as] = metric
    return found


def measure(metric: Metric, labels: np.ndarray, available: Mapping[str, Any]) -> Measured:
    """The value of a metric; of predicted classes, int [m], it is the accuracy, the share of those that are right.

    The value is None where features or logits are not finite, where the metric asks for labels that are not known, and
    where it is not finite itself. That of predicted classes is also None where the images that are judged, or the
    training images, are all of one class: whatever always predicts that class would be right. So is that of retrieval
    where the images that are judged are all of one class, or each of a class of its own.

    Args:
      labels: int [m], of the images that are judged; -1 where a class is not known, in train_labels too.
      available: arguments by name, of `OF_FEATURES` and `OF_TRAINING`.

    Raises:
      ValueError: features or labels have another form.
      UserError: the metric makes neither a number nor as many classes as there are labels, 0 to num_classes - 1.
    """
    arguments = arguments_of(metric, available, field="A metric")
    known = _true_labels({**available, "labels": labels})
    # A probe takes long: what it needs, and whether its accuracy will mean something, is looked at before.
    if "train_probe" in arguments:
        why_none = _not_finite(available) or _unlabelled(known) or _no_accuracy(known)
    else:
        asked = {name: known[name] for name in known if name in arguments}
        why_none = _not_finite(available) or _unlabelled(asked)
        if "retrieval" in arguments:
            why_none = why_none or _no_accuracy({"labels": known["labels"]}) or _all_alone(known["labels"])
    if why_none:
        return Measured(None, None, why_none)
    found, name = np.asarray(metric(**arguments)), getattr(metric, "__name__", metric)
    if found.shape == np.shape(labels) and np.issubdtype(found.dtype, np.integer):
        strange = found[(found < 0) | (found >= _num_classes(available))]
        if len(strange):
            raise UserError(
                f"The metric {name} predicts class {strange[0]}, expected 0 to {_num_classes(available) - 1}."
            )
        why_none = _no_accuracy(known)
        if why_none:
            return Measured(None, None, why_none)
        return Measured(float(np.mean(found == labels)), found.astype(np.int32))
    if found.ndim or found.dtype.kind not in "iuf":
        raise UserError(
            f"The metric {name} makes {found.dtype} {list(found.shape)}, expected a number, or {len(labels)} predicted "
            "classes."
        )
    if not np.isfinite(found):
        return Measured(None, None, f"its value is {found}")
    return Measured(float(found), None)


def _true_labels(available: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The labels that are there: int32, -1 where one is not known."""
    found = {}
    for name, of in (("labels", "features"), ("train_labels", "train_features")):
        if name in available:
            rows = len(available[of]) if of in available else None
            found[name] = check_labels(
                name, available[name], num_classes=_num_classes(available), rows=rows, unlabelled=True
            )
    return found


def _num_classes(available: Mapping[str, Any]) -> int:
    return available.get("num_classes", np.iinfo(np.int32).max)


def _not_finite(available: Mapping[str, Any]) -> str:
    """Which numbers of a diverged encoder are not finite; "" where all are."""
    for name in ("features", "train_features", "logits"):
        if name in available:
            rows = check_features(name, available[name], finite=False)
            bad = count_not_finite(rows)
            if bad:
                what = name.removeprefix("train_")
                return f"the {what} of {bad:,} of the {len(rows):,} {_IMAGES[name]} images are not finite"
    return ""


def _unlabelled(known: Mapping[str, np.ndarray]) -> str:
    """Which images have no label; "" where all have one."""
    for name, labels in known.items():
        missing = np.count_nonzero(labels < 0)
        if missing:
            return f"{missing:,} of the {len(labels):,} {_IMAGES[name]} images have no label"
    return ""


def _no_accuracy(known: Mapping[str, np.ndarray]) -> str:
    """Why an accuracy would mean nothing; "" where it means something."""
    for name, labels in known.items():
        if np.all(labels == labels[0]) and labels[0] >= 0:
            return f"the {_IMAGES[name]} images are all of one class"
    return _unlabelled({"labels": known["labels"]})


def _all_alone(labels: np.ndarray) -> str:
    """Why nothing can be retrieved; "" where something can."""
    return "no two evaluated images are of one class" if len(np.unique(labels)) == len(labels) else ""
