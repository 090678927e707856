"""The curves of a run for its page: loss, learning rate, held-out metrics, and what drives the loss."""

import itertools
import numbers
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.fields import metric_title
from tcl_jax.report.plots import Picture, Series, curves
from tcl_jax.report.results import capitalized

Records = Sequence[Mapping[str, Any]]

VALIDATION = "validation_"
"""How the keys of metrics of held-out images begin in a record."""

_MOST_POINTS = 600  # of a curve; those of a longer one are means of several records


class Captioned(NamedTuple):
    """A picture and the text below it."""

    picture: Picture
    caption: str


class _Panel(NamedTuple):
    """Curves in one picture. curves: (key of a record, name in the legend)."""

    y_label: str
    curves: tuple[tuple[str, str], ...]
    caption: str


_TRAINING = (
    _Panel(
        "loss",
        (("loss", "loss"), ("collapsed_loss", "of equal outputs")),
        "Mean training loss of the steps of each record, and where it is known the loss if all images had one output, "
        "below which a run falls that learns.",
    ),
    _Panel(
        "learning rate",
        (("learning_rate", "learning rate"),),
        "Learning rate of the last step of each record.",
    ),
)
_CLASSIFIER = (
    _Panel(
        "accuracy",
        (("classifier_accuracy", "linear classifier trained along"),),
        "Accuracy of the linear classifier that is trained along, on the augmented training images of the last step of "
        "each record.",
    ),
    _Panel(
        "cross-entropy",
        (("classifier_loss", "linear classifier trained along"),),
        "Cross-entropy of the linear classifier that is trained along, on the same images.",
    ),
)
_DIAGNOSTICS = (
    _Panel(
        "share of the gradient",
        (("hard_positive_mass", "hard positives"), ("hard_negative_mass", "hard negatives")),
        "How much of an anchor's gradient comes from hard positives, which are farther from it than some negative, and "
        "from hard negatives, which are nearer to it than some positive: near 0 a batch has few of them.",
    ),
    _Panel(
        "mean cosine",
        (("positive_similarity", "positive pairs"), ("negative_similarity", "negative pairs")),
        "Mean similarity of projections of one class and of different classes: training widens the gap between them.",
    ),
    _Panel(
        "mean squared distance",
        (("alignment", "alignment"),),
        "Alignment, the mean squared distance of positive pairs, 0 to 4: lower is tighter.",
    ),
    _Panel(
        "log of the mean potential",
        (("uniformity", "uniformity"),),
        "Uniformity, the logarithm of the mean of exp(-2 x squared distance) over all pairs: lower means that "
        "projections are spread more evenly over the sphere.",
    ),
    _Panel(
        "effective rank",
        (("rank", "RankMe"),),
        "RankMe, how many dimensions the projections take up, by the entropy of their singular values: near 1 they lie "
        "on one line, as where all have collapsed to one point.",
    ),
)
_COUNTED = _Panel(
    "share of the rows",
    (("counted", "counted anchors"),),
    "Share of the rows that count as anchors, as the batch holds a positive for them.",
)
_BOOKKEEPING = ("step", "epoch", "steps", "skipped", "views_per_second", "data_seconds")
_PANELS = (*_TRAINING, *_CLASSIFIER, *_DIAGNOSTICS, _COUNTED)
_KNOWN = {*_BOOKKEEPING, *(key for panel in _PANELS for key, _ in panel.curves)}


def training_curves(
    records: Records, probe_losses: Sequence[float] = (), accuracies: Collection[str] = ()
) -> list[Captioned]:
    """Loss, metrics of held-out images, a classifier trained along, learning rate, and all numbers without a panel.

    The loss of the linear probe is the last.

    Args:
      records: of metrics.jsonl, in order.
      probe_losses: mean training loss of the linear probe in each of its epochs.
      accuracies: names of the metrics that are accuracies.
    """
    keys = [key for key in numeric_keys(records) if key not in _KNOWN]
    held_out = [_held_out(key, accuracies) for key in keys if key.startswith(VALIDATION)]
    others = [
        _Panel(metric_title(key), ((key, metric_title(key)),), f"{key}, as the run recorded it.")
        for key in keys
        if not key.startswith(VALIDATION)
    ]
    loss, *rest = _TRAINING
    drawn = _panels([loss, *held_out, *_CLASSIFIER, *rest, *others], records, "curve")
    if probe_losses:
        series = Series("linear probe", range(1, len(probe_losses) + 1), probe_losses)
        picture = curves([series], name="probe-loss", x_label="epoch of the linear probe", y_label="loss")
        caption = "Mean training loss of the linear classifier on the frozen encoder, in each of its epochs."
        drawn.append(Captioned(picture, caption))
    return drawn


def warnings(records: Records) -> list[str]:
    """What was found wrong with the run while it trained, in the order of its records."""
    return [record["warning"] for record in records if "warning" in record]


def diagnostic_curves(records: Records) -> list[Captioned]:
    """What drives the loss, against the step; none where the loss has no such diagnostics, as cross-entropy."""
    some_do_not_count = any(record.get("counted") not in (None, 1) for record in records)
    return _panels([*_DIAGNOSTICS, *([_COUNTED] if some_do_not_count else [])], records, "diagnostic")


def numeric_keys(records: Records) -> list[str]:
    """Keys under which some record has a number, in the order in which they appear."""
    found = dict.fromkeys(itertools.chain.from_iterable(records))
    return [key for key in found if any(isinstance(record.get(key), numbers.Real) for record in records)]


def series_of(records: Records, key: str, *, name: str) -> Series:
    """Values of the records against the step; long ones as means of several records, in a band of their extremes.

    Args:
      records: of metrics.jsonl, in order; those that have no number under the key are left out.
      key: of the values.
      name: for the legend.

    >>> series_of([{"step": 2, "loss": 3.0}, {"step": 4, "loss": None}, {"step": 5}], "loss", name="run 1")
    Series(name='run 1', x=array([2.]), y=array([3.]), y_low=None, y_high=None)
    """
    points = [(r["step"], r[key]) for r in records if isinstance(r.get(key), numbers.Real)]
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


def _held_out(key: str, accuracies: Collection[str]) -> _Panel:
    name = key.removeprefix(VALIDATION)
    label = f"{metric_title(name)} accuracy" if name in accuracies else metric_title(name)
    return _Panel(label, ((key, label),), f"{capitalized(label)} on the held-out training images.")


def _panels(panels: Sequence[_Panel], records: Records, name: str) -> list[Captioned]:
    drawn = []
    for number, panel in enumerate(panels):
        series = [series_of(records, key, name=legend) for key, legend in panel.curves]
        series = [one for one in series if len(one.x)]
        if series:
            picture = curves(series, name=f"{name}-{number}", x_label="step", y_label=panel.y_label)
            drawn.append(Captioned(picture, panel.caption))
    return drawn
