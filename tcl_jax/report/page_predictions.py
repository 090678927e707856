"""What the encoder makes of the test images, for the page of a run: map, confusions, nearest neighbours."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.report.contact_sheet import Column, contact_sheet
from tcl_jax.report.embedding_map import embedding_map
from tcl_jax.report.figures import MOST_NAMED, confusion, scatter
from tcl_jax.report.html import Html, Section, columns, element, folded, join, paragraph, table
from tcl_jax.report.page_curves import Part
from tcl_jax.report.picture_table import picture_table
from tcl_jax.report.projection import projections
from tcl_jax.report.samples import first_of_classes, nearest, shuffled
from tcl_jax.report.thumbnails import encoded, thumbnails

_MOST_POINTS = 2_000  # images in the map
_MOST_PAIRS = 10  # of classes that are confused
_NEIGHBOURS = 8
_RIGHT, _WRONG = "\N{CHECK MARK}", "\N{BALLOT X}"
_SAMPLES = 6  # test images whose neighbours are shown
_MISTAKES = 4  # and of those that kNN tells wrong

SPOKEN = {"linear_probe": "linear probe", "knn": "kNN", "classifier": "trained classifier"}


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


def map_of(test: Examples, predictions: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Part:
    """The test images in the plane; of many a fixed choice of 2,000."""
    count = len(test.labels)
    chosen = np.sort(shuffled(count)[:_MOST_POINTS])
    labels = test.labels[chosen]
    maps = projections(test.features[chosen])
    told = {SPOKEN.get(name, name): found[chosen] for name, found in predictions.items()}
    some = "" if len(chosen) == count else f"{len(chosen):,} of the {count:,} test images, chosen at random. "
    by = next(iter(told), None)
    body = join(
        paragraph(
            f"{some}Each mark is a test image, placed by its encoder features, which are scaled to unit length as kNN "
            "compares them; colour and shape tell its class."
            + (f" An outline marks those that the {by} tells wrong." if by else "")
        ),
        embedding_map(maps, labels, class_names, told, thumbnails(test.images, chosen), chosen),
    )
    picture = scatter(list(maps.items()), labels, class_names)
    return Part(Section("map", "Map of the test images", body), {"map.png": picture})


def confusions(labels: np.ndarray, predictions: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Part:
    """Which classes are taken for which, by each of the predictions."""
    parts: list[Html] = []
    files = {}
    for name, found in predictions.items():
        spoken = SPOKEN.get(name, name)
        counts = count_confusions(labels, found, len(class_names))
        picture = confusion(
            counts,
            class_names,
            name=f"confusion-{name.replace('_', '-')}",
            alt=f"Confusion matrix of the {spoken}; the table of confused classes names its largest errors",
        )
        files[f"confusion_{name}.png"] = picture.png
        title = f"{spoken[0].upper() if spoken != 'kNN' else 'k'}{spoken[1:]}"
        parts.append(
            element(
                "div",
                element("h3", title),
                element("figure", picture.svg),
                _pairs(counts, class_names, spoken),
            )
        )
    lead = paragraph(
        "Counts of test images; a row is a true class, a column the class that was told. The colour is by the share "
        "of the row, stretched so that single errors can be seen."
    )
    by_number: Html | str = ""
    if len(class_names) > MOST_NAMED:
        numbers = table(["number", "class"], list(enumerate(class_names)), caption="Classes by their numbers")
        by_number = folded(f"The {len(class_names):,} classes by their numbers", numbers)
    return Part(Section("confusion", "Confusion", join(lead, columns(*parts), by_number)), files)


def count_confusions(labels: np.ndarray, found: np.ndarray, num_classes: int) -> np.ndarray:
    """[c, c], of images of the row's class that were told to be of the column's.

    >>> count_confusions(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    places = np.asarray(labels, np.int64) * num_classes + np.asarray(found, np.int64)
    return np.bincount(places, minlength=num_classes**2).reshape(num_classes, num_classes)


def _pairs(counts: np.ndarray, class_names: Sequence[str], spoken: str) -> Html:
    errors = counts - np.diag(np.diag(counts))
    total = int(errors.sum())
    if not total:
        return paragraph(f"The {spoken} tells every test image right.")
    order = np.argsort(-errors, axis=None, kind="stable")[: min(_MOST_PAIRS, np.count_nonzero(errors))]
    rows = []
    for true, told in zip(*np.unravel_index(order, errors.shape), strict=True):
        share = errors[true, told] / counts[true].sum()
        rows.append((class_names[true], class_names[told], f"{errors[true, told]:,}", f"{share:.1%}"))
    shown = sum(int(errors.flat[place]) for place in order)
    caption = f"Most confused classes: {shown:,} of the {total:,} errors"
    return table(["true class", "told as", "images", "of the class"], rows, caption=caption, align="llrr")


def neighbours(
    train: Examples, test: Examples, predictions: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> Part:
    """Test images beside the training images nearest to them: of all classes, and such that kNN tells wrong."""
    order = shuffled(len(test.labels))
    chosen = first_of_classes(test.labels, order, _SAMPLES)
    wrong = order[predictions["knn"][order] != test.labels[order]] if "knn" in predictions else order[:0]
    parts, files = [], {}
    shown = (
        ("neighbours", "Test images of different classes", np.sort(chosen)),
        ("neighbours_of_mistakes", "Test images that kNN tells wrong", wrong[:_MISTAKES]),
    )
    for name, caption, positions in shown:
        if not len(positions):
            continue
        sheet, names = _neighbour_columns(train, test, positions, class_names)
        parts.append(picture_table(sheet, names, caption=caption))
        files[f"{name}.png"] = encoded(contact_sheet(caption, [_in_words(c) for c in sheet], names), "png")
    lead = paragraph(
        f"The training images with the most similar encoder features, nearest first, by cosine. {_RIGHT} marks those "
        f"of the test image's class, {_WRONG} those of another, which is named."
    )
    return Part(Section("neighbours", "Nearest neighbours", join(lead, *parts)), files)


def _neighbour_columns(
    train: Examples, test: Examples, positions: np.ndarray, class_names: Sequence[str]
) -> tuple[list[Column], list[str]]:
    where = nearest(test.features[positions], train.features, _NEIGHBOURS)
    labels = test.labels[positions]
    sheet = [Column("test image", "", np.asarray(test.images[positions]), [str(p) for p in positions])]
    for rank in range(where.shape[1]):
        found = train.labels[where[:, rank]]
        notes = [
            _RIGHT if one == label else f"{_WRONG} {class_names[one]}"
            for one, label in zip(found, labels, strict=True)
        ]
        images = np.asarray(train.images[where[:, rank]])
        sheet.append(Column("nearest training images", f"{rank + 1}", images, notes))
    return sheet, [class_names[label] for label in labels]


def _in_words(column: Column) -> Column:
    """For a picture, whose font does not have the marks."""
    marks = {_RIGHT: "right", _WRONG: "x"}
    return column._replace(
        notes=[" ".join(marks.get(word, word) for word in note.split()) for note in column.notes]
    )
