"""A watch on runs that do not learn: one sentence, once, where the projections have collapsed to one point."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from tcl_jax.run.metrics_log import Log

Record = Mapping[str, Any]

WARNING = "warning"
"""The key of the sentence in a record."""

# A third of all steps, within bounds: TCL with k1 = 5000 may begin with a hundred steps in which all projections fall
# together, and then part by themselves.
_SHARE_OF_STEPS, _FEWEST_STEPS, _MOST_STEPS, _FEWEST_RECORDS = 1 / 3, 200, 5000, 5
# The loss is in nats; that of a batch by the classes in it differs from batch to batch by less.
_BETTER_BY = 0.01
# Of projections whose mean cosine is 0.9975: they have not parted by class, whatever the classes are.
_UNIFORMITY = -0.01
_ALSO = "more train.warmup_epochs, or with the loss 'tcl' a smaller loss.k1"


class Watch:
    """A log that hands its records on; the first by which `collapse` finds something gets it as its "warning".

    It is printed as well, in a line of its own.

    Args:
      log: of the run.
      records: those of the run before.
      learning_rates: as for `collapse`.
      name: of the run, to print; "" prints the sentence alone.
    """

    def __init__(self, log: Log, records: Sequence[Record], learning_rates: np.ndarray, name: str = ""):
        self._log, self._learning_rates, self._name = log, learning_rates, name
        self._records = [record for record in records if "loss" in record]
        self._warned = any(WARNING in record for record in self._records)

    def append(self, record: dict[str, Any]) -> None:
        """Add one record."""
        if "loss" in record and not self._warned:
            self._records.append(record)
            sentence = collapse(self._records, self._learning_rates)
            if sentence is not None:
                record, self._warned = {**record, WARNING: sentence}, True
                tqdm.write(f"{self._name}: {sentence}" if self._name else sentence)
        self._log.append(record)


def collapse(records: Sequence[Record], learning_rates: np.ndarray) -> str | None:
    """What is wrong and what to try, where a run does not learn after all these records; None where it seems to.

    It does not learn where, over a third of all its steps, but at least 200 and at most 5,000, none of them in the
    warm-up, the loss is not below "collapsed_loss", or, of a loss that has none, the projections lie at one point by
    their "uniformity": by the median of each half of that time, and in the last record.

    Args:
      records: of metrics.jsonl that have a "loss", in order.
      learning_rates: of every step of the run; the warm-up ends with the highest.

    >>> stuck = [{"step": step, "loss": 4.85, "collapsed_loss": 4.85} for step in range(10, 310, 10)]
    >>> print(collapse(stuck, np.full(300, 0.1)))  # doctest: +ELLIPSIS
    The run does not learn: from step 101 to 300 the loss was about 4.850, that of equal outputs is 4.850. Try ...
    """
    if not _is_stuck(records[-1:]):
        return None
    end, warm_up = records[-1]["step"], int(np.argmax(learning_rates))
    steps = min(max(round(_SHARE_OF_STEPS * len(learning_rates)), _FEWEST_STEPS), _MOST_STEPS)
    first, begin = len(records), end
    while first and (end - begin < steps or len(records) - first < _FEWEST_RECORDS):
        first -= 1
        begin = records[first - 1]["step"] if first else 0
    recent, half = records[first:], (first + len(records)) // 2
    if begin < warm_up or end - begin < steps or len(recent) < _FEWEST_RECORDS:
        return None
    if not (_is_stuck(records[first:half]) and _is_stuck(records[half:])):
        return None
    loss, collapsed, uniformity, rank = (
        _median(recent, key) for key in ("loss", "collapsed_loss", "uniformity", "rank")
    )
    if collapsed is None:
        found = f"their uniformity was about {uniformity:.2g}"
    else:
        found = f"the loss was about {loss:.3f}, that of equal outputs is {collapsed:.3f}"
    found = f"from step {begin + 1} to {end} {found}"
    if uniformity is None or uniformity <= _UNIFORMITY:
        return f"The run does not learn: {found}. Try another train.learning_rate, {_ALSO}."
    return (
        f"The projections have collapsed to one point: {found} (RankMe {rank:.2f}). "
        f"Try a smaller train.learning_rate, {_ALSO}."
    )


def _is_stuck(records: Sequence[Record]) -> bool:
    known = [record for record in records if None not in (record["loss"], record.get("collapsed_loss"))]
    if known:
        return bool(np.median([r["loss"] - r["collapsed_loss"] for r in known]) >= -_BETTER_BY)
    uniformity = _median(records, "uniformity")
    return uniformity is not None and uniformity > _UNIFORMITY


def _median(records: Sequence[Record], key: str) -> Any:
    """None where no record has the number."""
    found = [record[key] for record in records if record.get(key) is not None]
    return float(np.median(found)) if found else None
