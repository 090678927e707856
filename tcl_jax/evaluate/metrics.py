"""What an encoder is worth, in one number each: a table of metrics by name, and the user's own."""

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tcl_jax.errors import UserError
from tcl_jax.evaluate.arguments import check_features, check_labels, count_not_finite
from tcl_jax.evaluate.few_labels import few_labels_predict, share_of_each
from tcl_jax.evaluate.knn import knn_scores
from tcl_jax.evaluate.logistic_regression import logistic_regression_logits
from tcl_jax.evaluate.outliers import knn_auroc
from tcl_jax.evaluate.retrieval import Retrieval, retrieval_metrics
from tcl_jax.resolve import arguments_of, resolve

Metric = Callable[..., Any]
"""A function of those of `OF_FEATURES` and `OF_TRAINING` that it names -> what `measure` takes."""

# For any images: features float [m, f] and labels int [m] of those that are judged, features and labels of the training
# images, the number of classes, and retrieval() -> Retrieval among those that are judged.
OF_FEATURES = ("features", "labels", "train_features", "train_labels", "num_classes", "retrieval")
# After training alone, with what must be for each to be there.
OF_TRAINING = {
    # () -> logits float [m, num_classes] of a linear classifier that it trains.
    "train_probe": "in evaluation.metrics",
    # Float [m, num_classes], of the classifier that was trained with cross-entropy.
    "logits": "in evaluation.metrics, where loss.name trains a classifier",
    # Float [o, f], of the images of another data set.
    "outlier_features": "in evaluation.metrics, where evaluation.outliers.name names a data set",
}

# Whose they are, in messages.
_IMAGES = {
    "features": "evaluated",
    "labels": "evaluated",
    "logits": "evaluated",
    "train_features": "training",
    "train_labels": "training",
    "outlier_features": "outlying",
}

# These predict classes of the training images alone.
_CLASSES_OF_TRAINING = {"train_labels", "train_probe", "logits"}

_TOP = 5

_EXAMPLE = "my_metric.py with `def recall(features, labels): ...` -> a number, the higher the better"


class NoValue(Exception):
    """What a metric raises where its value would mean nothing; the text says why, in a few words."""


class Measured(NamedTuple):
    """What came out.

    Attributes:
      value: of the metric; None where it means nothing. Over several draws it is the mean.
      predicted: int32 [m], the classes it predicted, if any, in a single draw, and if their accuracy means something.
      why_none: why the value is None, in a few words; "" where it is a number.
      deviation: standard deviation over draws (of a sample: divided by draws - 1), where there are several.
      top_5: share of the images whose class is among the five of the largest scores, where there are scores for more
        than five classes.
      per_class: float [c], the accuracy of the images of each class up to the last that has any, NaN where there are
        none; None where no classes are predicted.
    """

    value: float | None
    predicted: np.ndarray | None = None
    why_none: str = ""
    deviation: float | None = None
    top_5: float | None = None
    per_class: np.ndarray | None = None


def _knn(features: Any, train_features: Any, train_labels: Any, num_classes: int) -> np.ndarray:
    return knn_scores(features, train_features, train_labels, num_classes=num_classes)


def _linear_probe(train_probe: Callable[[], np.ndarray]) -> np.ndarray:
    return train_probe()


def _logistic_regression(
    features: Any, train_features: Any, train_labels: Any, num_classes: int
) -> np.ndarray:
    return logistic_regression_logits(train_features, train_labels, features, num_classes=num_classes)


def _classifier(logits: np.ndarray) -> np.ndarray:
    return logits


def _outlier_auroc(features: Any, train_features: Any, outlier_features: Any) -> float:
    return knn_auroc(features, train_features, outlier_features)


def _of_retrieval(name: str) -> Metric:
    def metric(retrieval: Callable[[], Retrieval]) -> float:
        return getattr(retrieval(), name)

    return metric


def _of_few_labels(counts_of: Callable[[np.ndarray], np.ndarray]) -> Metric:
    """Of as many images of each class as `counts_of` makes of the number that there are."""

    def metric(features: Any, train_features: Any, train_labels: Any, num_classes: int) -> np.ndarray:
        sizes = np.bincount(train_labels, minlength=num_classes)
        return few_labels_predict(train_features, train_labels, features, counts=counts_of(sizes))

    return metric


def _percent_of_each(percent: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda sizes: share_of_each(sizes, percent / 100)


def _of_each(images: int) -> Callable[[np.ndarray], np.ndarray]:
    def counts_of(sizes: np.ndarray) -> np.ndarray:
        short = np.flatnonzero(sizes < images)
        if len(short):
            raise NoValue(f"class {short[0]} has fewer than {images} training images")
        return np.full(len(sizes), images)

    return counts_of


_RETRIEVAL = tuple(name for name in Retrieval._fields if name not in ("queries", "left_out"))
_FEW_LABELS = {
    **{f"labels_{images}_per_class": _of_each(images) for images in (1, 5, 10)},
    **{f"labels_{percent}_percent": _percent_of_each(percent) for percent in (1, 10)},
}

METRICS: dict[str, Metric] = {
    "linear_probe": _linear_probe,
    "knn": _knn,
    "logistic_regression": _logistic_regression,
    "classifier": _classifier,
    "outlier_auroc": _outlier_auroc,
    **{name: _of_retrieval(name) for name in _RETRIEVAL},
    **{name: _of_few_labels(counts_of) for name, counts_of in _FEW_LABELS.items()},
}
"""Metrics by name."""

GROUPS: dict[str, Sequence[str]] = {"retrieval": _RETRIEVAL, "few_labels": tuple(_FEW_LABELS)}
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
        if why_none := _no_accuracy({"labels": labels}) or _all_alone(labels):
            raise NoValue(why_none)
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
    parameters = inspect.signature(metric).parameters if inspect.isfunction(metric) else {}
    for asked, where in OF_TRAINING.items():
        if (
            asked not in available
            and asked in parameters
            and parameters[asked].default is inspect.Parameter.empty
        ):
            raise UserError(
                f"{field} ({name!r}) names a metric that needs {asked!r}, which is available only {where}: change "
                "that, or name another metric."
            )
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
    """The value of a metric that makes a number, predicted classes int [m], or scores float [m, num_classes].

    The class of the largest score is predicted; ties go to the smaller number. Of predicted classes the value is
    the accuracy, the share of those that are right. An image is right among the first five where its class is
    predicted, or where no more than four other classes have as large a score: no tie is broken by luck. Classes and
    scores may have an axis before, of several draws; their means are then taken over the draws.

    The value is None where features or logits are not finite, where the metric asks for labels that are not known,
    where it raises `NoValue`, where it asks for the classes of training images and none of the images that are judged
    is of one of these, and where it is not finite itself. That of predicted classes is also None where the images that
    are judged, or the training images, are all of one class: whatever always predicts that class would be right. So is
    that of retrieval where the images that are judged are all of one class, or each of a class of its own.

    Args:
      labels: int [m], of the images that are judged; -1 where a class is not known, in train_labels too.
      available: arguments by name, of `OF_FEATURES` and `OF_TRAINING`; a `NoValue` in place of one that means nothing.

    Raises:
      ValueError: features or labels have another form.
      UserError: the metric makes something else, or classes that are not 0 to num_classes - 1.
    """
    arguments = arguments_of(metric, available, field="A metric")
    for argument in arguments.values():
        if isinstance(argument, NoValue):
            return Measured(None, why_none=str(argument))
    available = {name: x for name, x in available.items() if name in arguments or name not in OF_TRAINING}
    known = _true_labels({**available, "labels": labels})
    # A probe takes long: what it needs, and whether its accuracy will mean something, is looked at before.
    if "train_probe" in arguments:
        why_none = _not_finite(available) or _unlabelled(known) or _no_accuracy(known)
    else:
        asked = {name: known[name] for name in known if name in arguments}
        why_none = _not_finite(available) or _unlabelled(asked)
    if arguments.keys() & _CLASSES_OF_TRAINING:
        why_none = why_none or _none_in_common(known)
    if why_none:
        return Measured(None, why_none=why_none)
    try:
        found = np.asarray(metric(**arguments))
    except NoValue as error:
        return Measured(None, why_none=str(error))
    name, count, num_classes = getattr(metric, "__name__", metric), len(labels), _num_classes(available)
    floating = jnp.issubdtype(found.dtype, jnp.floating)
    if floating and _is(found, count, num_classes):
        return _of_scores(found.astype(jnp.promote_types(found.dtype, np.float32)), known)
    if np.issubdtype(found.dtype, np.integer) and _is(found, count):
        strange = found[(found < 0) | (found >= num_classes)]
        if len(strange):
            raise UserError(
                f"The metric {name} predicts class {strange[0]}, expected 0 to {num_classes - 1}."
            )
        return _of_classes(found.astype(np.int32), known)
    if found.ndim or not (floating or np.issubdtype(found.dtype, np.integer)):
        raise UserError(
            f"The metric {name} makes {found.dtype} {list(found.shape)}, expected a number, {count} predicted classes "
            f"(integers), or scores (floating) [{count}, {num_classes}]; of several draws, an axis more before these."
        )
    if not np.isfinite(found):
        return Measured(None, why_none=f"its value is {found}")
    return Measured(float(found))


def _is(found: np.ndarray, *shape: int) -> bool:
    """Whether this is the shape, or that of several draws."""
    draws = found.shape[: found.ndim - len(shape)]
    return found.shape == (*draws, *shape) and len(draws) <= 1 and 0 not in draws


def _of_classes(predicted: np.ndarray, known: Mapping[str, np.ndarray]) -> Measured:
    """Of classes [m] or [draws, m]."""
    if why_none := _no_accuracy(known):
        return Measured(None, why_none=why_none)
    labels, draws = known["labels"], np.atleast_2d(predicted)
    accuracies = np.mean(draws == labels, axis=1)
    sizes = np.bincount(labels)
    right = np.bincount(labels, weights=np.mean(draws == labels, axis=0))
    return Measured(
        float(np.mean(accuracies)),
        predicted if predicted.ndim == 1 else None,
        deviation=float(np.std(accuracies, ddof=1)) if len(draws) > 1 else None,
        per_class=np.divide(right, sizes, out=np.full(len(sizes), np.nan), where=sizes > 0),
    )


def _of_scores(scores: np.ndarray, known: Mapping[str, np.ndarray]) -> Measured:
    """Of scores [m, c] or [draws, m, c]."""
    labels, num_classes = known["labels"], scores.shape[-1]
    unknown = np.isnan(scores).reshape(-1, *scores.shape[-2:]).any(axis=(0, 2))
    if unknown.any():
        return Measured(
            None, why_none=f"the scores of {unknown.sum():,} of the {len(labels):,} evaluated images are NaN"
        )
    predicted = np.argmax(scores, axis=-1).astype(np.int32)
    found = _of_classes(predicted, known)
    if found.value is None or num_classes <= _TOP:
        return found
    own = np.take_along_axis(scores, np.broadcast_to(labels, predicted.shape)[..., np.newaxis], axis=-1)
    first = (predicted == labels) | (np.sum(scores >= own, axis=-1) <= _TOP)
    return found._replace(top_5=float(np.mean(first)))


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
    for name in ("features", "train_features", "logits", "outlier_features"):
        if name in available:
            rows = check_features(name, available[name], finite=False)
            bad = count_not_finite(rows)
            if bad:
                what = name.rpartition("_")[2]
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


def _none_in_common(known: Mapping[str, np.ndarray]) -> str:
    """Why the classes of the training images say nothing of those that are judged; "" where they do."""
    trained, labels = known.get("train_labels"), known["labels"]
    if trained is None or np.all(labels < 0) or np.isin(labels, trained).any():
        return ""
    return _no_accuracy({"labels": labels}) or "no evaluated image is of a class of the training images"


def _all_alone(labels: np.ndarray) -> str:
    """Why nothing can be retrieved; "" where something can."""
    return "no two evaluated images are of one class" if len(np.unique(labels)) == len(labels) else ""
