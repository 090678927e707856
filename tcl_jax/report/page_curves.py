"""The curves of a run for its page: loss, learning rate, accuracy, and what drives the loss."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.report.figures import Picture, Series, curves
from tcl_jax.report.html import Html, Section, columns, element, figure, join, paragraph

Records = Sequence[Mapping[str, Any]]

_MOST_POINTS = 600  # of a curve; those of a longer one are means of several records


class Part(NamedTuple):
    """A section of a page, and the files of its pictures by their names."""

    section: Section
    files: dict[str, bytes]


class _Panel(NamedTuple):
    """Curves in one picture. shown: (key of a record, name in the legend)."""

    name: str
    y_label: str
    shown: tuple[tuple[str, str], ...]
    meaning: str


_TRAINING = (
    _Panel("loss", "loss", (("loss", "loss"),), "Mean training loss of the steps of each record."),
    _Panel(
        "accuracy",
        "kNN, top-1",
        (("validation_knn", "kNN"),),
        "Share of the held-out training images that their nearest neighbours tell right.",
    ),
    _Panel(
        "learning_rate",
        "learning rate",
        (("learning_rate", "learning rate"),),
        "Learning rate of the last step of each record.",
    ),
)
_DIAGNOSTICS = (
    _Panel(
        "hard_mass",
        "share of the gradient",
        (("hard_positive_mass", "hard positives"), ("hard_negative_mass", "hard negatives")),
        "How much of an anchor's gradient comes from hard positives, which are farther from it than some negative, and "
        "from hard negatives, which are nearer to it than some positive: near 0 the batch has little left to teach.",
    ),
    _Panel(
        "similarities",
        "mean cosine",
        (("positive_similarity", "positive pairs"), ("negative_similarity", "negative pairs")),
        "Mean similarity of projections of one class and of different classes: the gap between the two is what "
        "training opens.",
    ),
    _Panel(
        "alignment",
        "mean squared distance",
        (("alignment", "alignment"),),
        "Alignment, the mean squared distance of positive pairs, 0 to 4: lower is tighter.",
    ),
    _Panel(
        "uniformity",
        "log of the mean potential",
        (("uniformity", "uniformity"),),
        "Uniformity, the logarithm of the mean of exp(-2 x squared distance) over all pairs: lower means that "
        "projections are spread more evenly over the sphere.",
    ),
    _Panel(
        "counted",
        "share of the rows",
        (("counted", "counted anchors"),),
        "Share of the rows that count as anchors, as the batch holds a positive for them.",
    ),
)


def training_curves(records: Records, probe_losses: Sequence[float] = ()) -> Part:
    """Loss, held-out accuracy and learning rate against the step; the loss of the linear probe against its epochs."""
    pictures, files = _panels(_TRAINING, records)
    if probe_losses:
        epochs = range(1, len(probe_losses) + 1)
        series = Series("linear probe", epochs, probe_losses)
        picture = curves([series], name="probe_loss", x_label="epoch of the linear probe", y_label="loss")
        caption = "Mean training loss of the linear classifier on the frozen encoder, in each of its epochs."
        pictures.append(figure(picture.svg, caption=caption))
        files["probe_loss.png"] = picture.png
    body = columns(*pictures) if pictures else paragraph("The run has no records of its steps.")
    return Part(Section("curves", "Curves", body), files)


def diagnostic_curves(records: Records) -> Part | None:
    """What drives the loss, against the step; None where the loss has no such figures, as cross-entropy."""
    counted = [r["counted"] for r in records if r.get("counted") is not None]
    panels = [panel for panel in _DIAGNOSTICS if panel.name != "counted" or any(x < 1 for x in counted)]
    pictures, files = _panels(panels, records)
    if not pictures:
        return None
    lead = paragraph(
        "Taken at the last step of each record, of its whole batch of projections; ",
        element("code", "tcl_jax.losses.Diagnostics"),
        " has the formulas.",
    )
    return Part(Section("diagnostics", "What drives the loss", join(lead, columns(*pictures))), files)


def _panels(panels: Sequence[_Panel], records: Records) -> tuple[list[Html], dict[str, bytes]]:
    shown: list[Html] = []
    files = {}
    for panel in panels:
        series = [one for key, name in panel.shown if len((one := series_of(records, key, name=name)).x)]
        if not series:
            continue
        picture: Picture = curves(series, name=panel.name, x_label="step", y_label=panel.y_label)
        shown.append(figure(picture.svg, caption=panel.meaning))
        files[f"{panel.name}.png"] = picture.png
    return shown, files


def series_of(records: Records, key: str, *, name: str) -> Series:
    """A figure of the records against the step; long ones as means of several records, in a band of their extremes.

    Args:
      records: of metrics.jsonl, in order; those without the figure are left out.
      key: of the figure.
      name: for the legend.

    >>> series_of([{"step": 2, "loss": 3.0}, {"step": 4, "loss": None}, {"step": 5}], "loss", name="run 1")
    Series(name='run 1', x=array([2.]), y=array([3.]), y_low=None, y_high=None)
    """
    points = [(r["step"], r[key]) for r in records if r.get(key) is not None]
    x, y = np.array(points, float).reshape(-1, 2).T
    if len(x) <= _MOST_POINTS:
        return Series(name, x, y)
    per_block = -(-len(x) // _MOST_POINTS)
    starts = np.arange(0, len(x), per_block)
    sizes = np.diff([*starts, len(x)])
    return Series(
        name,
        np.add.reduceat(x, starts) / sizes,
        np.add.reduceat(y, starts) / sizes,
        np.minimum.reduceat(y, starts),
        np.maximum.reduceat(y, starts),
    )
