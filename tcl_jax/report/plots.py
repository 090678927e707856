"""Plots by matplotlib: as SVG that follows the colours of its page, or as PNG for itself."""

import contextlib
import io
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

# Distinct to every kind of eye, and 3 : 1 or more against white; page.css has these and those for dark pages.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))

_INK = "#010203"  # of text and axes: nearly black in a PNG, the page's own colour in an SVG
FONT_SIZE = 10.5  # points; 14 pixels where an SVG has its full size
WIDTH = 4.8  # inches; 460 pixels
_SHADED = (0.16, 0.53, 0.80)  # red, green, blue of a cell, which lets the page shine through
_LEAST_SHADE, _MOST_SHADE = 0.16, 0.75
_LONGEST_NAME = 40  # letters
MOST_NAMED = 20  # classes whose names there is room for in a picture

_SETTINGS: dict[str, Any] = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": False,
    "font.family": "DejaVu Sans",
    "font.size": FONT_SIZE,
    "legend.fontsize": FONT_SIZE,
    "path.simplify_threshold": 0.2,
    "savefig.transparent": False,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,  # a name may hold a $
    "xtick.color": _INK,
    "ytick.color": _INK,
}


class Picture(NamedTuple):
    """A plot, which is drawn when its SVG or its PNG is asked for, the same bytes each time.

    Attributes:
      draw: puts it into an empty figure.
      name: its own on a page, of letters, digits and "-".
      alt: what it shows, for those who do not see it.
      width, height: in inches.
    """

    draw: Callable[[Figure], None]
    name: str
    alt: str
    width: float
    height: float

    @property
    def svg(self) -> Markup:
        """An element of a page, with texts that can be searched and colours that follow the page's."""
        file = io.StringIO()
        with self._drawn() as figure:
            figure.savefig(file, format="svg", dpi=72, transparent=True, metadata={"Date": None})
        return _inline(file.getvalue(), self.name, self.alt)

    @property
    def png(self) -> bytes:
        """The bytes of a file, on white."""
        file = io.BytesIO()
        with self._drawn() as figure:
            figure.savefig(file, format="png", dpi=120, facecolor="white", metadata={"Software": None})
        return file.getvalue()

    @contextlib.contextmanager
    def _drawn(self) -> Iterator[Figure]:
        # The same ids in every run of the program, and no date: the same run makes the same bytes.
        settings = {**_SETTINGS, "svg.hashsalt": self.name}
        with matplotlib.rc_context(settings), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # names in scripts that the font does not have
            figure = Figure(figsize=(self.width, self.height), layout="constrained")
            self.draw(figure)
            yield figure


class Series(NamedTuple):
    """A curve. name: for the legend. x, y: [m]; points that are not finite are left out. y_low, y_high: a band [m]."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    y_low: Sequence[float] | np.ndarray | None = None
    y_high: Sequence[float] | np.ndarray | None = None


def curves(series: Sequence[Series], *, name: str, x_label: str, y_label: str) -> Picture:
    """Curves over each other, each with a colour and dash of its own; a legend names them where there are several.

    Args:
      name: of the picture, its own on a page.
      x_label, y_label: what the axes show, with units.
    """
    longest = max((len(one.name) for one in series), default=0)
    columns = max(1, min(3, 40 // max(longest + 4, 1)))
    lines = -(-len(series) // columns) if len(series) > 1 else 0

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for number, one in enumerate(series):
            color, dash = PALETTE[number % len(PALETTE)], _DASHES[number % len(_DASHES)]
            x, y = np.asarray(one.x, float), np.asarray(one.y, float)
            shown = np.isfinite(y)
            marker: dict[str, Any] = {"marker": "o", "markersize": 3.5} if shown.sum() <= 12 else {}
            axes.plot(x[shown], y[shown], color=color, linestyle=dash, label=cut(one.name), **marker)
            if one.y_low is not None and one.y_high is not None:
                low, high = np.asarray(one.y_low, float), np.asarray(one.y_high, float)
                axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
        axes.set_xlabel(cut(x_label))
        axes.set_ylabel(cut(y_label))
        axes.grid(color=_INK, alpha=0.14, linewidth=0.6)
        axes.locator_params(axis="x", nbins=6)
        if lines:
            axes.legend(
                loc="lower left",
                bbox_to_anchor=(0.0, 1.0),
                ncols=columns,
                frameon=False,
                handlelength=2.6,
                columnspacing=1.4,
                borderaxespad=0.2,
            )

    return Picture(draw, name, f"{y_label} against {x_label}", WIDTH, 2.9 + 0.22 * lines)


def confusion(counts: np.ndarray, class_names: Sequence[str], *, name: str, alt: str) -> Picture:
    """A confusion matrix, rows the true classes. Up to 20 classes have their names and counts in it.

    Args:
      counts: integer [c, c], of images of the row's class that were predicted as the column's.
      class_names: c names.
      name: of the picture, its own on a page.
      alt: what it shows, for those who do not see it.
    """
    number = len(counts)
    named = number <= MOST_NAMED
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # From a visible least shade by the square root, so that a single error among many images can be seen.
    shade = np.where(counts > 0, _LEAST_SHADE + (_MOST_SHADE - _LEAST_SHADE) * np.sqrt(share), 0)
    cells = np.dstack([*(np.full(share.shape, c) for c in _SHADED), shade])
    labels = [cut(text, 14) for text in class_names]
    longest = max(map(len, labels), default=0)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.imshow(cells, interpolation="none")
        axes.spines[["right", "top"]].set_visible(True)
        axes.set_xlabel("predicted class" if named else "predicted class, by its number")
        axes.set_ylabel("true class" if named else "true class, by its number")
        if not named:
            axes.locator_params(integer=True)
            return
        upright = longest * number > 40
        axes.set_xticks(
            range(number),
            labels,
            rotation=45 if upright else 0,
            ha="right" if upright else "center",
            rotation_mode="anchor",
        )
        axes.set_yticks(range(number), labels)
        axes.set_xticks(np.arange(number - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(number - 1) + 0.5, minor=True)
        axes.grid(which="minor", color=_INK, alpha=0.14, linewidth=0.6)
        axes.tick_params(which="minor", length=0)
        size = min(FONT_SIZE, 150 / max(number, 1) / max(len(str(counts.max(initial=0))) * 0.62, 1))
        for row, column in np.argwhere(counts):
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=size)

    return Picture(draw, name, alt, WIDTH, WIDTH)


def _inline(svg: str, name: str, alt: str) -> Markup:
    """A file of SVG as an element of a page: without what the page has already, and with ids of its own."""
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        parent.tag = parent.tag.rpartition("}")[2]
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
        attributes = {
            key.rpartition("}")[2]: value for key, value in parent.attrib.items() if key != "version"
        }
        if not any(reference.format(attributes.get("id")) in svg for reference in ('"#{}"', "url(#{})")):
            attributes.pop("id", None)  # nothing refers to it
        parent.attrib = {key: _on_page(key, value, name) for key, value in attributes.items()}
    root.attrib |= {"role": "img", "aria-label": alt, "stroke-linejoin": "round"}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _on_page(attribute: str, value: str, name: str) -> str:
    """The value of an attribute of a page's SVG: the page's colours and fonts, and ids that begin with `name`."""
    if attribute == "id":
        return f"{name}-{value}"
    value = value.replace("url(#", f"url(#{name}-")
    if attribute == "href":
        return value.replace("#", f"#{name}-", 1)
    for number, color in enumerate(PALETTE):
        value = value.replace(color, f"var(--series-{number})")
    return value.replace(_INK, "currentColor").replace("'DejaVu Sans'", "system-ui, sans-serif")


def cut(text: str, longest: int = _LONGEST_NAME) -> str:
    """A name of at most `longest` letters, each of which can be shown."""
    # A control character has no place in a picture, nor in SVG.
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
