"""Pictures of a report: each is drawn once, and is a PNG for itself and an SVG that follows the colours of its page."""

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure

from tcl_jax.report.html import Html, escape
from tcl_jax.report.name_places import name_places

# Told apart by every kind of eye, and 3 : 1 or more against white and against the dark page.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))

_INK = "#010203"  # of text and axes: nearly black in a PNG, the page's own colour in an SVG
_FONT_SIZE = 10.5  # points; 14 pixels where an SVG has its full size
_WIDTH = 4.8  # inches; 460 pixels
_SHADED = (0.16, 0.53, 0.80)  # red, green, blue of a cell, which lets the page shine through
_LEAST_SHADE, _MOST_SHADE = 0.16, 0.75
_LONGEST_NAME = 40  # letters
MOST_NAMED = 20  # classes whose names there is room for in a picture

# So that a name can be read above marks.
_HALO: list[patheffects.AbstractPathEffect] = [patheffects.withStroke(linewidth=3, foreground="white")]

_SETTINGS: dict[str, Any] = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": False,
    "font.family": "DejaVu Sans",
    "font.size": _FONT_SIZE,
    "legend.fontsize": _FONT_SIZE,
    "path.simplify_threshold": 0.2,
    "savefig.transparent": False,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,  # a name may hold a $
    "xtick.color": _INK,
    "ytick.color": _INK,
}


class Picture(NamedTuple):
    """png: bytes of a file. svg: for a page, with texts that can be searched and colours that follow the page's."""

    png: bytes
    svg: Html


class Series(NamedTuple):
    """A curve. name: for the legend. x, y: [m]; points that are not finite are left out. y_low, y_high: a band [m]."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    y_low: Sequence[float] | np.ndarray | None = None
    y_high: Sequence[float] | np.ndarray | None = None


def curves(
    series: Sequence[Series], *, name: str, x_label: str, y_label: str, log_y: bool = False
) -> Picture:
    """Curves over each other, told apart by colour and dash; a legend names them where there are several.

    Args:
      name: of the picture, its own on a page.
      x_label, y_label: what the axes show, with units.
      log_y: y on a logarithmic axis; it is above 0.
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
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if log_y:
            axes.set_yscale("log")
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

    return picture(draw, name, f"{y_label} against {x_label}", height=2.9 + 0.22 * lines)


def confusion(counts: np.ndarray, class_names: Sequence[str], *, name: str, alt: str) -> Picture:
    """A confusion matrix, rows the true classes. Up to 20 classes have their names and counts in it.

    Args:
      counts: integer [c, c], of images of the row's class that were told to be of the column's.
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
        size = min(_FONT_SIZE, 150 / max(number, 1) / max(len(str(counts.max(initial=0))) * 0.62, 1))
        for row, column in np.argwhere(counts):
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=size)

    return picture(draw, name, alt, height=_WIDTH)


def scatter(maps: Sequence[tuple[str, np.ndarray]], labels: np.ndarray, class_names: Sequence[str]) -> bytes:
    """Maps of the same points side by side, coloured by class; up to 20 classes are named where they lie. A PNG.

    Args:
      maps: (title, coordinates [m, 2], -1 to 1) of each.
      labels: [m], 0 to the number of classes - 1.
    """

    def draw(figure: Figure) -> None:
        for number, (title, places) in enumerate(maps):
            axes = figure.add_subplot(1, len(maps), number + 1)
            for label in np.unique(labels):
                x, y = places[labels == label].T
                marker = "osD^"[label // len(PALETTE) % 4]
                axes.scatter(x, y, s=9, color=PALETTE[label % len(PALETTE)], marker=marker, linewidths=0)
            if len(class_names) <= MOST_NAMED:
                short = [cut(text, 14) for text in class_names]
                for label, (left, up) in name_places(places, labels, short).items():
                    text = axes.text(left, up, short[label], ha="center", va="center", weight="bold")
                    text.set_path_effects(_HALO)
            axes.set(xlim=(-1.06, 1.06), ylim=(-1.06, 1.14), aspect="equal")
            axes.spines[:].set_visible(False)
            axes.set_title(title, fontsize=_FONT_SIZE)
            axes.set_xticks([])
            axes.set_yticks([])

    with _drawn(draw, "map", 5.0 * len(maps), 5.0) as figure:
        return _png(figure)


def picture(draw: Callable[[Figure], None], name: str, alt: str, *, height: float) -> Picture:
    """What `draw` puts into a figure, as PNG and SVG; `alt` tells those who do not see it. height: in inches."""
    with _drawn(draw, name, _WIDTH, height) as figure:
        png, svg = _png(figure), io.StringIO()
        figure.set_layout_engine("none")  # it is laid out
        figure.savefig(svg, format="svg", dpi=72, transparent=True, metadata={"Date": None})
    return Picture(png, _inline(svg.getvalue(), name, alt))


@contextlib.contextmanager
def _drawn(draw: Callable[[Figure], None], name: str, width: float, height: float) -> Iterator[Figure]:
    # The same ids in every run of the program, and no date: the same run makes the same bytes.
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # names in scripts that the font does not have
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        yield figure


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def _inline(svg: str, name: str, alt: str) -> Html:
    """A file of SVG as an element of a page: without what the page has already, and with ids of its own."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(
        r"<metadata>.*?</metadata>\s*|<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL
    )
    svg = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], name), svg)  # not in texts, which are users'
    svg = re.sub(r">\n\s*<", ">\n<", svg)
    return Html(svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}" stroke-linejoin="round"', 1))


def _tag(tag: str, name: str) -> str:
    if re.fullmatch(r'<g id="[a-z0-9]+_\d+">', tag):
        return "<g>"  # nothing refers to it
    tag = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", tag).replace("xlink:href=", "href=")
    tag = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    for number, color in enumerate(PALETTE):
        tag = tag.replace(color, f"var(--series-{number})")  # of the page's style sheet, for light and dark
    return tag.replace(_INK, "currentColor").replace("'DejaVu Sans'", "system-ui, sans-serif")


def cut(text: str, longest: int = _LONGEST_NAME) -> str:
    """A name of at most `longest` letters, each of which can be shown."""
    # A control character has no place in a picture, nor in SVG.
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
