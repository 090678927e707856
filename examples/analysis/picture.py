"""The picture of the responses: lines of the formula, and on them the marks of autodiff."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from examples.analysis.conclusions import break_even_k2, stronger_where
from examples.analysis.responses import Curve, Setting
from examples.analysis.surroundings import NEGATIVES, POSITIVES, Kind, Surroundings

# Okabe and Ito's, for colour-blind readers; dashes and marks differ as well, for print without colour.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00")
_DASHES = ("-", (0, (6, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 3)))
_MARKS = ("o", "s", "^", "D", "v")
MOST_LINES = len(_COLORS)  # of TCL in one panel
_SUPCON = dict(color="#000000", linewidth=2.6, alpha=0.75)
_EVERY = 8  # points from one mark to the next
_DECADES = 4  # of a logarithmic axis below the largest response
_PALE = "#555555"


def draw(
    surroundings: Surroundings, curves: Sequence[Curve], by_k1: Sequence[Setting], by_k2: Sequence[Setting]
) -> bytes:
    """A PNG of four panels: hard positives and all positives by k1, negatives by k1 and by k2.

    Args:
      surroundings: what the curves were computed in.
      curves: both kinds of SupCon and of every setting named next.
      by_k1: settings of TCL that differ in k1 alone, at most MOST_LINES.
      by_k2: settings of TCL that differ in k2 alone, at most MOST_LINES.
    """
    figure = Figure(figsize=(11, 9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    (hard, whole), (push_by_k1, push_by_k2) = figure.subplots(2, 2)
    _hard_positives(hard, surroundings, curves, by_k1)
    _all_positives(whole, surroundings, curves, by_k1)
    _negatives(push_by_k1, surroundings, curves, by_k1, "k1")
    push_by_k1.set_title(f"Negatives: k1 weakens the push (k2 = {by_k1[0].k2:g})")
    _negatives(push_by_k2, surroundings, curves, by_k2, "k2")
    even = break_even_k2(surroundings.pairs("negative", np.array(0.0)), by_k2[0])
    push_by_k2.set_title(f"Negatives: k2 regulates it (k1 = {by_k2[0].k1:g}); SupCon's at {even:.3g}")
    for axes in figure.axes:
        axes.title.set(fontsize=10.5, fontweight="bold")
        axes.set_xlabel("similarity $s$ of the moved pair to the anchor")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        "Response of the loss to one pair of an anchor, which is moved while its other pairs stay\n"
        f"positives: {surroundings.num_positives} at {POSITIVES[0]:g} to {POSITIVES[1]:g}; "
        f"negatives: {surroundings.num_negatives} at {NEGATIVES[0]:g} to {NEGATIVES[1]:g}; "
        f"temperature {by_k1[0].temperature:g}; shaded: the pair is hard; "
        "lines: formula, marks: autodiff of the losses",
        fontsize=10,
    )
    drawn, content = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    # A palette makes the file a third as large, and nobody sees it.
    Image.open(drawn).convert("RGB").quantize(128).save(content, format="png", optimize=True)
    return content.getvalue()


def _hard_positives(
    axes: Any, surroundings: Surroundings, curves: Sequence[Curve], settings: Sequence[Setting]
) -> None:
    drawn = _lines(axes, curves, "positive", settings, "k1")
    low, high = surroundings.hard("positive")
    pulls = [-np.interp(np.linspace(low, high, 50), curve.similarity, curve.closed_form) for curve in drawn]
    bottom, top = float(np.min(pulls)), float(np.max(pulls))
    room = max(top - bottom, 1e-3 * abs(top))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set(xlim=(low, high), ylim=(bottom - 0.1 * room, top + 0.45 * room))
    axes.set_ylabel("pull on the positive,  $-\\partial L_i / \\partial s_{ip}$")
    axes.set_title(f"Hard positives: k1 adds to SupCon's pull (k2 = {settings[0].k2:g})")
    axes.text(
        0.01, 0.01, "this axis does not begin at 0", transform=axes.transAxes, fontsize=8.5, color=_PALE
    )
    axes.legend(fontsize=8.5, loc="upper right", ncols=2)


def _all_positives(
    axes: Any, surroundings: Surroundings, curves: Sequence[Curve], settings: Sequence[Setting]
) -> None:
    drawn = _lines(axes, curves, "positive", settings, "k1")
    axes.axhline(0.0, color=_PALE, linewidth=0.8)
    axes.axvspan(*surroundings.hard("positive"), color="#000000", alpha=0.05, linewidth=0)
    pulls = [-curve.closed_form for curve in drawn]
    bottom, top = float(np.min(pulls)), float(np.max(pulls))
    room = top - bottom
    axes.set(xlim=(-1.02, 1.02), ylim=(bottom - 0.32 * room, top + 0.1 * room))
    if bottom < 0.0:
        axes.text(-0.97, -0.015 * room, "below 0: pushed apart", va="top", fontsize=8.5, color=_PALE)
    longest = []
    for number, setting in enumerate(settings):
        height = bottom - (0.13 + 0.035 * number) * room
        ranges = stronger_where("positive", surroundings, setting)
        for span in ranges:
            axes.plot(span, (height, height), color=_COLORS[number], linestyle=_DASHES[number], linewidth=2.5)
        longest.append(ranges[-1][1] if ranges else -1.0)
    if max(longest) == -1.0:
        where = " nowhere"
    elif min(longest) == 1.0:
        where = " everywhere"
    else:
        where = f" up to s = {', '.join(f'{end:.2f}' for end in longest)}"
    text = f"larger in size than SupCon's{where}"
    axes.text(-0.97, bottom - 0.11 * room, text, va="bottom", fontsize=8.5)
    axes.set_ylabel("pull on the positive,  $-\\partial L_i / \\partial s_{ip}$")
    axes.set_title("All positives: k1 weakens SupCon's push on easy ones")


def _negatives(
    axes: Any, surroundings: Surroundings, curves: Sequence[Curve], settings: Sequence[Setting], name: str
) -> None:
    drawn = _lines(axes, curves, "negative", settings, name)
    largest = max(float(curve.closed_form.max()) for curve in curves if curve.kind == "negative")
    least = largest * 10.0**-_DECADES
    seen = min(float(curve.similarity[curve.closed_form >= least].min(initial=1.0)) for curve in drawn)
    axes.axvspan(*surroundings.hard("negative"), color="#000000", alpha=0.05, linewidth=0)
    axes.set(yscale="log", ylim=(least, largest * 2.0), xlim=(max(-1.02, seen - 0.1), 1.02))
    axes.set_ylabel("push on the negative,  $\\partial L_i / \\partial s_{in}$")
    axes.legend(fontsize=8.5, loc="upper left")


def _lines(
    axes: Any, curves: Sequence[Curve], kind: Kind, settings: Sequence[Setting], name: str
) -> list[Curve]:
    """SupCon and the settings, named by the value of one coefficient; pull above 0 for positives, push for negatives.

    Returns:
      The curves that were drawn.
    """
    sign = -1.0 if kind == "positive" else 1.0
    by_setting = {curve.setting: curve for curve in curves if curve.kind == kind}
    supcon = next(curve for curve in by_setting.values() if curve.setting.loss == "supcon")
    drawn = [supcon, *(by_setting[setting] for setting in settings)]
    styles = [
        dict(_SUPCON, linestyle="-", marker="x"),
        *(
            dict(color=color, linestyle=dash, marker=mark, linewidth=1.8)
            for color, dash, mark in zip(_COLORS, _DASHES, _MARKS, strict=True)
        ),
    ]
    for number, (curve, style) in enumerate(zip(drawn, styles, strict=False)):
        axes.plot(curve.similarity, sign * curve.closed_form, **{**style, "marker": ""}, label="_line")
        some = slice(number, None, _EVERY)
        mark = dict(linestyle="", marker=style["marker"], color=style["color"], markersize=4.5)
        axes.plot(curve.similarity[some], sign * curve.autodiff[some], **mark, label="_marks")
        label = "SupCon" if number == 0 else f"TCL, {name} = {getattr(curve.setting, name):g}"
        axes.plot([], [], **style, label=label, markersize=4.5)
    return drawn
