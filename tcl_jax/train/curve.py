"""The curve of a run: the losses of the steps as records, and the progress bar."""

import collections
import time
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from tcl_jax.errors import NotFinite
from tcl_jax.fields import metric_title
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.metrics_log import Log

# After this many skipped steps in a row it is not the batch: the state is such that no step will be finite.
_MOST_SKIPPED_IN_A_ROW = 10


class _Step(NamedTuple):
    number: int
    epoch: int
    learning_rate: float
    metrics: dict[str, jax.Array]
    data_seconds: float


class Curve:
    """Turns the losses of the steps into records, one interval late, so that the host never waits for the device.

    Args:
      log: of the records.
      bar: counts views; it shows the loss and the metrics of held-out images.
      checkpoints: of the run, for messages.

    Reading a loss waits for its step. By the time an interval is read here the next one is queued, and the device has
    work to do.
    """

    def __init__(self, log: Log, bar: tqdm, views_per_step: int, checkpoints: Checkpoints):
        self._log, self._bar, self._views_per_step, self._checkpoints = log, bar, views_per_step, checkpoints
        self._open: list[_Step] = []
        self._closed: collections.deque[list[_Step]] = collections.deque()
        self._shown = {"loss": ""}
        self._skipped_in_a_row = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of the rate; the device has done all that it was given."""
        self._since = time.monotonic()
        self._rate: float | None = None
        # Of the steps that no record holds yet, those that are not part of the next rate.
        self._counted = len(self._pending())

    def add(
        self, step: int, epoch: int, learning_rate: float, metrics: dict[str, jax.Array], data_seconds: float
    ) -> None:
        """Note a step that the device was given.

        Args:
          step: its number, from 1.
          metrics: "loss"; "skipped" where such steps are left out; and diagnostics, recorded if the last step of the
            interval has them and was not skipped.
          data_seconds: time that the host spent to get its batch and to hand it to the devices.
        """
        self._open.append(_Step(step, epoch, float(learning_rate), metrics, data_seconds))

    def close_interval(self) -> None:
        """The steps since the last call become one record, which is written at the next call.

        Raises:
          NotFinite: a loss of the interval before is not finite, or too many of its steps were skipped.
        """
        if self._open:
            self._closed.append(self._open)
            self._open = []
        self._write(len(self._closed) - 1)

    def flush(self) -> None:
        """Wait for the device, and write all records.

        Raises:
          NotFinite: a loss among them is not finite, or too many of the steps were skipped.
        """
        self.close_interval()
        self._write(len(self._closed))

    def add_validation(self, step: int, epoch: int, metric: str, value: float | None) -> None:
        """Write a metric of the held-out images after a step, as a record of its own; None where it is not finite."""
        self._log.append({"step": step, "epoch": epoch, f"validation_{metric}": value})
        if value is not None:
            self._show(epoch, metric_title(metric), value, refresh=True)

    def _pending(self) -> list[_Step]:
        return [step for interval in (*self._closed, self._open) for step in interval]

    def _write(self, count: int) -> None:
        """Write the records of the first `count` closed intervals."""
        if count < 1:
            return
        jax.block_until_ready(self._closed[count - 1][-1].metrics)
        rate = self._measure()
        for _ in range(count):
            interval = self._closed.popleft()
            self._counted -= len(interval)
            self._write_one(interval, rate)

    def _measure(self) -> float | None:
        """Views per second since the last call; None where the only steps done were those before the clock began.

        Counts the steps that the device has done by now: those of the interval to be recorded, and what it did of the
        next ones meanwhile. Where all were counted the last time, that rate is theirs.
        """
        done = sum(step.metrics["loss"].is_ready() for step in self._pending())  # type: ignore[attr-defined]
        views, now = (done - self._counted) * self._views_per_step, time.monotonic()
        if views:
            self._rate = views / (now - self._since)
            self._since, self._counted = now, done
        return self._rate

    def _write_one(self, interval: list[_Step], rate: float | None) -> None:
        losses = jax.device_get([step.metrics["loss"] for step in interval])
        skipped = jax.device_get([step.metrics.get("skipped", 0) for step in interval])
        counted = []
        for step, loss, was_skipped in zip(interval, losses, skipped, strict=True):
            self._skipped_in_a_row = self._skipped_in_a_row + 1 if was_skipped else 0
            if self._skipped_in_a_row == _MOST_SKIPPED_IN_A_ROW:
                raise not_finite(
                    f"{_MOST_SKIPPED_IN_A_ROW} steps in a row were skipped, as their loss or gradient was not finite",
                    step.number,
                    self._checkpoints,
                )
            if not was_skipped and not np.isfinite(loss):
                raise not_finite(f"The loss became {loss}", step.number, self._checkpoints)
            if not was_skipped:
                counted.append(loss)
        last, left_out = interval[-1], len(interval) - len(counted)
        loss = float(np.mean(counted, dtype=np.float64)) if counted else None
        diagnostics = {} if skipped[-1] else jax.device_get(last.metrics)
        self._log.append(
            {
                "step": last.number,
                "epoch": last.epoch,
                "loss": loss,
                "steps": len(interval),
                **({"skipped": left_out} if left_out else {}),
                "learning_rate": last.learning_rate,
                "views_per_second": rate,
                "data_seconds": sum(step.data_seconds for step in interval),
                **{name: float(x) for name, x in diagnostics.items() if name not in ("loss", "skipped")},
            }
        )
        if loss is not None:
            self._show(last.epoch, "loss", loss, refresh=False)
        self._bar.update(len(interval) * self._views_per_step)

    def _show(self, epoch: int, name: str, value: float, *, refresh: bool) -> None:
        """Show a number on the bar, beside those shown before."""
        self._shown[name] = f", {name} {value:.4f}"
        self._bar.set_postfix_str(f"epoch {epoch + 1}{''.join(self._shown.values())}", refresh=refresh)


def not_finite(what: str, step: int, checkpoints: Checkpoints) -> NotFinite:
    """The error for numbers that are not finite: `what` happened at `step`."""
    saved = checkpoints.latest_step()
    rest = (
        "no checkpoint was written yet"
        if saved is None
        else f"the last good checkpoint is that of step {saved}"
    )
    return NotFinite(
        f"{what} at step {step}; {rest}: try a smaller train.learning_rate, more train.warmup_epochs or a "
        "larger loss.temperature, with a new --workdir."
    )
