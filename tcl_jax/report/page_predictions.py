"""What the encoder makes of the test images, for the page of a run: map, confusions, nearest neighbours."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.fields import metric_title
from tcl_jax.report.contact_sheet import Column, PictureTable, picture_table
from tcl_jax.report.embedding_map import EmbeddingMap, embedding_map, map_picture
from tcl_jax.report.plots import MOST_NAMED, Picture, confusion
from tcl_jax.report.results import named
from tcl_jax.report.samples import first_of_classes, nearest, projections, shuffled
from tcl_jax.report.thumbnails import thumbnails

_MOST_POINTS = 2_000  # images in the map
_MOST_PAIRS = 10  # of classes that are confused
_NEIGHBOURS = 8
_SAME, _OTHER = "\N{CHECK MARK}", "\N{BALLOT X}"
_SAMPLES = 6  # test images whose neighbours are shown
_MISTAKES = 4  # and of those that are misclassified
_MOST_QUERIES = 500  # among which those are looked for whose nearest is of another class

Predictions = Mapping[str, np.ndarray]
"""Predicted classes of the test images, integer [m], by metric."""


class Examples(NamedTuple):
    """A split as the encoder sees it.

    Attributes:
      images: uint8 [n, h, w, c], or what gives those at an array of positions.
      labels: integer [n], 0 to the number of classes - 1.
      features: floating [n, f].
    """

    images: Any
    labels: np.ndarray
    features: np.ndarray


class Evaluated(NamedTuple):
    """What an encoder was evaluated on.

    Attributes:
      class_names: of all classes.
      train, test: the two splits.
      predictions: of the test images, by the metrics of results.json that have some.
    """

    class_names: Sequence[str]
    train: Examples
    test: Examples
    predictions: Predictions

    @property
    def correct(self) -> dict[str, int]:
        """How many of the test images each metric predicts correctly."""
        return {name: int(np.sum(found == self.test.labels)) for name, found in self.predictions.items()}


class MapSection(NamedTuple):
    """shown of total test images in a map, as a plot too; outlined: the metric whose errors have an outline, if any."""

    map: EmbeddingMap
    picture: Picture
    shown: int
    total: int
    outlined: str | None


class Confusion(NamedTuple):
    """Confused classes by a metric's predictions.

    Attributes:
      metric: its name.
      picture: the confusion matrix.
      pairs: (true class, predicted class, images, their share of the true class), the most confused first.
      shown, errors: numbers of misclassified images, in `pairs` and in all.
    """

    metric: str
    picture: Picture
    pairs: list[tuple[str, str, str, str]]
    shown: int
    errors: int


def map_section(test: Examples, predictions: Predictions, class_names: Sequence[str]) -> MapSection:
    """The test images in the plane; of many a fixed choice of 2,000."""
    count = len(test.labels)
    chosen = np.sort(shuffled(count)[:_MOST_POINTS])
    labels, maps = test.labels[chosen], projections(test.features[chosen])
    by_title = {metric_title(name): found[chosen] for name, found in predictions.items()}
    shown = embedding_map(maps, labels, class_names, by_title, thumbnails(test.images, chosen), chosen)
    outlined = next(iter(predictions), None)
    return MapSection(shown, map_picture(maps, labels, class_names), len(chosen), count, outlined)


def confusions(labels: np.ndarray, predictions: Predictions, class_names: Sequence[str]) -> list[Confusion]:
    """Which classes are predicted as which, by each of the predictions."""
    return [
        _confusion(metric, labels, predicted, class_names, f"confusion-{number}")
        for number, (metric, predicted) in enumerate(predictions.items())
    ]


def _confusion(
    metric: str, labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], name: str
) -> Confusion:
    counts = count_confusions(labels, predicted, len(class_names))
    alt = f"Confusion matrix of {named(metric)}; the table of confused classes has its most frequent errors"
    picture = confusion(counts, class_names, name=name, alt=alt)
    errors = counts - np.diag(np.diag(counts))
    share = errors / np.maximum(counts.sum(1, keepdims=True), 1)
    order = np.argsort(-errors, axis=None, kind="stable")[: min(_MOST_PAIRS, np.count_nonzero(errors))]
    pairs = [
        (class_names[true], class_names[other], f"{errors[true, other]:,}", f"{share[true, other]:.1%}")
        for true, other in zip(*np.unravel_index(order, errors.shape), strict=True)
    ]
    return Confusion(metric, picture, pairs, int(errors.flat[order].sum()), int(errors.sum()))


def count_confusions(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """[c, c], of images of the row's class that were predicted as the column's.

    >>> count_confusions(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = np.asarray(labels, np.int64) * num_classes + np.asarray(predicted, np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def neighbours(
    train: Examples, test: Examples, predictions: Predictions, class_names: Sequence[str]
) -> list[PictureTable]:
    """Test images beside the training images nearest to them: of all classes, and such that are misclassified.

    Neighbours explain the predictions of kNN; those of another metric stand in where kNN has none.
    """
    order = shuffled(len(test.labels))
    shown = {"Test images of different classes": np.sort(first_of_classes(test.labels, order, _SAMPLES))}
    metric = "knn" if "knn" in predictions else next(iter(predictions), None)
    if metric is not None:
        wrong = order[predictions[metric][order] != test.labels[order]]
        shown[f"Test images misclassified by {named(metric)}"] = wrong[:_MISTAKES]
    return [
        picture_table(*_neighbour_columns(train, test, positions, class_names), caption=caption)
        for caption, positions in shown.items()
        if len(positions)
    ]


def retrieved(test: Examples, class_names: Sequence[str]) -> list[PictureTable]:
    """Test images beside the other test images nearest to them: of all classes, and such whose nearest is of another.

    The latter are looked for among a fixed choice of 500. Images that are the only one of their class retrieve nothing.
    """
    order = shuffled(len(test.labels))
    order = order[np.bincount(test.labels)[test.labels[order]] > 1]
    if not len(order):
        return []
    positions = np.sort(first_of_classes(test.labels, order, _SAMPLES))
    some = order[:_MOST_QUERIES]
    found = test.labels[_nearest_others(test.features, some, 1)[:, 0]] == test.labels[some]
    shown = {
        "Test images of different classes": positions,
        f"The nearest is of another class for {np.sum(~found):,} of {len(some):,}": some[~found][:_MISTAKES],
    }
    return [
        picture_table(
            *_columns(
                test,
                which,
                test,
                _nearest_others(test.features, which, _NEIGHBOURS),
                class_names,
                "other test",
            ),
            caption=caption,
        )
        for caption, which in shown.items()
        if len(which)
    ]


def _nearest_others(features: np.ndarray, positions: np.ndarray, count: int) -> np.ndarray:
    """The nearest rows to those at some positions, themselves left out: int [len(positions), count or fewer]."""
    found = nearest(features[positions], features, count + 1)
    others = found != positions[:, None]
    others[:, -1] &= ~others.all(axis=1)  # where a row is not among its nearest, as others are equal to it
    return found[others].reshape(len(positions), -1)


def _neighbour_columns(
    train: Examples, test: Examples, positions: np.ndarray, class_names: Sequence[str]
) -> tuple[list[Column], list[str]]:
    where = nearest(test.features[positions], train.features, _NEIGHBOURS)
    return _columns(test, positions, train, where, class_names, "training")


def _columns(
    test: Examples,
    positions: np.ndarray,
    bank: Examples,
    where: np.ndarray,
    class_names: Sequence[str],
    of_bank: str,
) -> tuple[list[Column], list[str]]:
    """Test images with images of a bank beside them, at places [len(positions), k]."""
    labels = test.labels[positions]
    sheet = [Column("test image", "", np.asarray(test.images[positions]), [str(p) for p in positions])]
    for rank in range(where.shape[1]):
        found = bank.labels[where[:, rank]]
        notes = [
            _SAME if one == label else f"{_OTHER} {class_names[one]}"
            for one, label in zip(found, labels, strict=True)
        ]
        images = np.asarray(bank.images[where[:, rank]])
        sheet.append(Column(f"nearest {of_bank} images", f"{rank + 1}", images, notes))
    return sheet, [class_names[label] for label in labels]


def numbered_classes(class_names: Sequence[str]) -> list[tuple[int, str]]:
    """The classes by the numbers that stand for them in a confusion matrix; none where their names do."""
    return list(enumerate(class_names)) if len(class_names) > MOST_NAMED else []
