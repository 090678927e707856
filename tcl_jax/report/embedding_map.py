"""A map of images by their features: for a page, which shows the image under the pointer, and as a plot."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure

from tcl_jax.report.plots import FONT_SIZE, MOST_NAMED, PALETTE, Picture, cut
from tcl_jax.report.thumbnails import Sprites, sprites

# Of a map that is 2 wide and 2 high.
_LETTER, _LINE = 0.036, 0.066
_ABOVE = 0.064
HIGHEST = 1.08  # there is room for a name above the highest points

_SHAPES = "osD^"  # circle, square, diamond, triangle, as in templates/run/map.html
# So that a name can be read above marks.
_HALO: list[patheffects.AbstractPathEffect] = [patheffects.withStroke(linewidth=3, foreground="white")]


class MapClass(NamedTuple):
    """The images of a class in a map.

    Attributes:
      label, name: of the class.
      color, shape: numbers of its marks' colour and shape.
      marks: (x, y, whether the image is misclassified), 0 to 1,000, y downward.
      heading: (text, x, y) of its name in the map; None where names have no room.
    """

    label: int
    name: str
    color: int
    shape: int
    marks: list[tuple[int, int, bool]]
    heading: tuple[str, int, int] | None


class EmbeddingMap(NamedTuple):
    """What a page needs to show a map.

    Attributes:
      names: of the maps, of which the first is shown at first.
      classes: those that have images, by their numbers.
      sprites: the images, in the order of the marks.
      data: for map.js.
    """

    names: list[str]
    classes: list[MapClass]
    sprites: Sprites
    data: dict[str, Any]


def embedding_map(
    maps: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    predictions: Mapping[str, np.ndarray],
    thumbnails: np.ndarray,
    positions: np.ndarray,
) -> EmbeddingMap:
    """Maps of the same images for a page, which has room for one of these. Without scripts it shows the first map.

    Args:
      maps: coordinates [m, 2], -1 to 1, by the names of the maps; at least one.
      labels: integer [m].
      class_names: of all classes.
      predictions: integer [m], by title; an image that the first of them misclassifies is marked.
      thumbnails: uint8 [m, h, w, c], of at most 48 pixels or so.
      positions: integer [m], the number of each image in its split.
    """
    order = np.argsort(labels, kind="stable")  # class by class, as they are drawn
    labels, positions = np.asarray(labels)[order], np.asarray(positions)[order]
    predicted = {name: np.asarray(classes)[order] for name, classes in predictions.items()}
    points = {name: _units(np.asarray(places)[order]) for name, places in maps.items()}
    sheet = sprites(thumbnails[order])
    short = [cut(text, 20) for text in class_names]
    titles: dict[str, dict[int, Any]] = {name: {} for name in maps}
    if len(class_names) <= MOST_NAMED:
        for name, places in maps.items():
            middles = name_places(np.asarray(places)[order], labels, short)
            titles[name] = {label: _units(np.array(place)).tolist() for label, place in middles.items()}
    first = next(iter(points))
    wrong = next(iter(predicted.values())) != labels if predicted else np.zeros(len(labels), bool)
    marks = [(x, y, missed) for (x, y), missed in zip(points[first].tolist(), wrong.tolist(), strict=True)]
    classes = []
    for label in np.unique(labels).tolist():
        color, shape = label % len(PALETTE), label // len(PALETTE) % len(_SHAPES)
        own = [marks[place] for place in np.flatnonzero(labels == label)]
        heading = (short[label], *titles[first][label]) if titles[first] else None
        classes.append(MapClass(label, class_names[label], color, shape, own, heading))
    data = {
        "maps": {name: places.tolist() for name, places in points.items()},
        "titles": titles,
        "labels": labels.tolist(),
        "positions": positions.tolist(),
        "predictions": {name: found.tolist() for name, found in predicted.items()},
        "classes": list(class_names),
        "sprites": {"columns": sheet.columns, "size": [sheet.width, sheet.height], "pitch": sheet.pitch},
    }
    return EmbeddingMap(list(maps), classes, sheet, data)


def map_picture(maps: Mapping[str, np.ndarray], labels: np.ndarray, class_names: Sequence[str]) -> Picture:
    """The maps side by side, coloured by class; up to 20 classes are named where they lie. Arguments as above."""

    def draw(figure: Figure) -> None:
        for number, (title, places) in enumerate(maps.items()):
            axes = figure.add_subplot(1, len(maps), number + 1)
            for label in np.unique(labels):
                x, y = places[labels == label].T
                marker = _SHAPES[label // len(PALETTE) % len(_SHAPES)]
                axes.scatter(x, y, s=9, color=PALETTE[label % len(PALETTE)], marker=marker, linewidths=0)
            if len(class_names) <= MOST_NAMED:
                short = [cut(text, 14) for text in class_names]
                for label, (left, up) in name_places(places, labels, short).items():
                    text = axes.text(left, up, short[label], ha="center", va="center", weight="bold")
                    text.set_path_effects(_HALO)
            axes.set(xlim=(-1.06, 1.06), ylim=(-1.06, 1.14), aspect="equal")
            axes.spines[:].set_visible(False)
            axes.set_title(title, fontsize=FONT_SIZE)
            axes.set_xticks([])
            axes.set_yticks([])

    return Picture(draw, "map", "Maps of the test images", 5.0 * len(maps), 5.0)


def name_places(
    points: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> dict[int, tuple[float, float]]:
    """The middle of each name: above most of the points of its class, moved down from names that are there already.

    Args:
      points: [m, 2], -1 to 1, y upward.
      labels: integer [m].
      class_names: of all classes; those that have no points have no place.

    Returns:
      (x, y) by the number of the class; x -1 to 1, y -1 to `HIGHEST`.
    """
    wanted = {}
    for label in np.unique(labels).tolist():
        x, y = points[labels == label].T
        half = min(len(class_names[label]) * _LETTER / 2, 0.9)
        wanted[label] = (
            float(np.clip(np.median(x), half - 1, 1 - half)),
            float(np.clip(np.quantile(y, 0.9) + _ABOVE, -0.97, HIGHEST)),
        )
    placed: dict[int, tuple[float, float]] = {}
    for label in sorted(wanted, key=lambda number: -wanted[number][1]):
        x, y = wanted[label]

        def hidden(y: float, x: float = x, label: int = label) -> bool:
            return any(
                abs(y - other_y) < _LINE
                and abs(x - other_x) < (len(class_names[label]) + len(class_names[other]) + 1) * _LETTER / 2
                for other, (other_x, other_y) in placed.items()
            )

        lower = next((y - n * _LINE / 4 for n in range(60) if not hidden(y - n * _LINE / 4)), y)
        placed[label] = (x, max(lower, -0.97))
    return placed


def _units(points: np.ndarray) -> np.ndarray:
    """-1 to 1, y upward, as integers 0 to 1,000, y downward."""
    return np.rint((points * (1, -1) + 1) * 500).astype(int)
