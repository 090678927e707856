"""A map of images by their features, which shows the image under the pointer; for a page."""

from collections.abc import Mapping, Sequence

import numpy as np

from tcl_jax.report.figures import MOST_NAMED, PALETTE, cut
from tcl_jax.report.html import Html, data_block, element, image, join
from tcl_jax.report.map_script import MAP_SCRIPT, MAP_STYLE
from tcl_jax.report.name_places import name_places
from tcl_jax.report.thumbnails import sprites

__all__ = ["MAP_SCRIPT", "MAP_STYLE", "embedding_map"]

# About (0, 0), in units of a map that is 1,000 wide: circle, square, diamond, triangle.
_SHAPES = ("M-9 0a9 9 0 1 0 18 0a9 9 0 1 0-18 0", "M-8-8H8V8H-8Z", "M0-11L11 0 0 11-11 0Z", "M0-11L10 8H-10Z")


def embedding_map(
    maps: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    predictions: Mapping[str, np.ndarray],
    thumbnails: np.ndarray,
    positions: np.ndarray,
) -> Html:
    """The maps of the same images, of which one is shown, and beside it the image that is pointed at.

    A page has room for one of these; it needs `MAP_STYLE` and `MAP_SCRIPT`. Without scripts it shows the first map.

    Args:
      maps: coordinates [m, 2], -1 to 1, by the names of the maps; at least one.
      labels: integer [m].
      class_names: of all classes.
      predictions: integer [m], by who tells them; an image that the first of them tells wrong is marked.
      thumbnails: uint8 [m, h, w, c], of at most 48 pixels or so.
      positions: integer [m], the number of each image in its split.
    """
    order = np.argsort(labels, kind="stable")  # class by class, as they are drawn
    labels, positions = np.asarray(labels)[order], np.asarray(positions)[order]
    told = {name: np.asarray(found)[order] for name, found in predictions.items()}
    places = {name: _units(np.asarray(points)[order]) for name, points in maps.items()}
    sheet = sprites(thumbnails[order])
    heads: dict[str, dict[int, list[int]]] = {name: {} for name in maps}
    if len(class_names) <= MOST_NAMED:
        for name, points in maps.items():
            found = name_places(np.asarray(points)[order], labels, [cut(text, 20) for text in class_names])
            heads[name] = {label: _units(np.array(place)).tolist() for label, place in found.items()}
    first = next(iter(places))
    wrong = next(iter(told.values())) != labels if told else np.zeros(len(labels), bool)
    data = data_block(
        "map-data",
        {
            "maps": {name: points.tolist() for name, points in places.items()},
            "heads": heads,
            "labels": labels.tolist(),
            "positions": positions.tolist(),
            "predictions": {name: found.tolist() for name, found in told.items()},
            "classes": list(class_names),
            "sprites": {"columns": sheet.columns, "size": [sheet.width, sheet.height], "pitch": sheet.pitch},
        },
    )
    return element(
        "div",
        _choice(list(places)),
        element(
            "div",
            _points(places[first], labels, wrong, heads[first], class_names),
            element("div", _card(), _legend(labels, class_names)),
            class_="map-columns",
        ),
        image(sheet.data, alt="", kind=sheet.kind, id="map-sprites", hidden="hidden"),
        data,
        class_="map",
    )


def _units(points: np.ndarray) -> np.ndarray:
    """-1 to 1, y upward, as integers 0 to 1,000, y downward."""
    return np.rint((points * (1, -1) + 1) * 500).astype(int)


def _points(
    points: np.ndarray,
    labels: np.ndarray,
    wrong: np.ndarray,
    heads: Mapping[int, Sequence[int]],
    class_names: Sequence[str],
) -> Html:
    shapes = [element("path", id=f"map-shape-{number}", d=shape) for number, shape in enumerate(_SHAPES)]
    groups = []
    for label in np.unique(labels).tolist():
        shape = f"#map-shape-{label // len(PALETTE) % len(_SHAPES)}"
        drawn = [
            element("use", href=shape, x=x, y=y, class_="miss" if missed else None)
            for (x, y), missed in zip(
                points[labels == label].tolist(), wrong[labels == label].tolist(), strict=True
            )
        ]
        groups.append(element("g", *drawn, style=_fill(label), data_class=label))
    names = [
        element("text", cut(class_names[label], 20), x=x, y=y, dy="0.35em", data_class=label)
        for label, (x, y) in heads.items()
    ]
    return element(
        "svg",
        element("defs", *shapes),
        element("g", join(*groups), id="map-points"),
        element("g", *names, id="map-names"),
        Html('<circle id="map-here" r="20" visibility="hidden"></circle>'),
        viewBox="-30 -70 1060 1100",
        id="map-svg",
        tabindex="0",
        role="application",
        aria_label=f"Map of {len(labels)} images. The arrow keys move from image to image.",
    )


def _fill(label: int) -> str:
    return f"fill: var(--series-{label % len(PALETTE)})"  # of the page's style sheet, for light and dark


def _choice(names: Sequence[str]) -> Html:
    if len(names) < 2:
        return Html("")
    buttons = [
        element("button", name, type="button", data_map=name, aria_pressed="false" if number else "true")
        for number, name in enumerate(names)
    ]
    return element("div", *buttons, class_="map-choice", role="group", aria_label="Map")


def _card() -> Html:
    hint = "Point at a mark, tap it, or move with the arrow keys, to see its image."
    return element(
        "div",
        Html('<canvas id="map-image" width="96" height="96" aria-hidden="true"></canvas>'),
        element("div", element("p", hint), id="map-text", aria_live="polite"),
        class_="map-card",
    )


def _legend(labels: np.ndarray, class_names: Sequence[str]) -> Html:
    items = []
    for label, count in zip(*(part.tolist() for part in np.unique(labels, return_counts=True)), strict=True):
        swatch = element(
            "svg",
            element("use", href=f"#map-shape-{label // len(PALETTE) % len(_SHAPES)}"),
            viewBox="-12 -12 24 24",
            style=_fill(label),
            aria_hidden="true",
        )
        name = element("span", class_names[label])
        button = element(
            "button",
            swatch,
            name,
            element("small", count),
            type="button",
            data_class=label,
            aria_pressed="false",
        )
        items.append(element("li", button))
    return element("ul", join(*items), class_="map-legend", aria_label="Classes; press one to see it alone")
