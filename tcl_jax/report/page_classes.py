"""The accuracy of each class, for the page of a run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tcl_jax.fields import metric_title
from tcl_jax.report.page_predictions import Predictions
from tcl_jax.report.results import number

_MOST_CLASSES = 20  # in one table
_LOWEST, _HIGHEST = 10, 3


class ClassTable(NamedTuple):
    """caption: above it; rows: cells by column, of `Classes.heads`."""

    caption: str
    rows: list[list[str]]


class Classes(NamedTuple):
    """heads: of each table. shown: tables. folded: the table of all classes, where those shown are only some."""

    heads: list[str]
    shown: list[ClassTable]
    folded: ClassTable | None


def accuracy_by_class(
    labels: np.ndarray, predictions: Predictions, class_names: Sequence[str]
) -> Classes | None:
    """The share of the test images of each class that each metric predicts correctly; None where none predicts classes.

    Of more than 20 classes that have test images, the 10 of lowest and the 3 of highest accuracy by the first metric
    are shown, and the others folded away.

    Args:
      labels: integer [m].
      predictions: integer [m] by metric.
    """
    if not predictions:
        return None
    counts = np.bincount(labels, minlength=len(class_names))
    present = np.flatnonzero(counts)
    shares = np.stack(
        [
            np.bincount(labels[found == labels], minlength=len(counts))[present] / counts[present]
            for found in predictions.values()
        ],
        axis=1,
    )
    rows = [
        [class_names[int(label)], f"{counts[label]:,}", *map(number, of_class)]
        for label, of_class in zip(present, shares.tolist(), strict=True)
    ]
    average = ["mean of the classes", f"{counts.sum():,}", *map(number, shares.mean(axis=0).tolist())]
    heads = ["class", "test images", *map(metric_title, predictions)]
    whole = ClassTable(f"All {len(rows):,} classes", [*rows, average])
    if len(rows) <= _MOST_CLASSES:
        return Classes(heads, [whole._replace(caption="Accuracy by class")], None)
    order = np.argsort(shares[:, 0], kind="stable")
    title = metric_title(next(iter(predictions)))
    best = np.argsort(-shares[:, 0], kind="stable")
    lowest, highest = ([rows[i] for i in some] for some in (order[:_LOWEST], best[:_HIGHEST]))
    shown = [
        ClassTable(f"The {_LOWEST} classes of lowest accuracy by {title}", [*lowest, average]),
        ClassTable(f"The {_HIGHEST} of highest", highest),
    ]
    return Classes(heads, shown, whole)
