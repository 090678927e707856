"""The curve of a run: one JSON object per line, each with the step after which it was taken; and for TensorBoard."""

import json
from types import TracebackType
from typing import Any

from etils import epath

from tcl_jax.errors import WriteFailed
from tcl_jax.files import GrowingFile, write_whole, writing
from tcl_jax.run.tensorboard import EventFile


class MetricsLog:
    """Appends records to a file and to TensorBoard's events, and continues both where a checkpoint was taken.

    A context manager: leaving it closes the events. Each record is in both when `append` returns.

    Args:
      path: the file, metrics.jsonl; it is made if it is missing.
      events: folder of the TensorBoard events.
      after_step: records of later steps are removed: the steps are about to be done again. 0 starts anew.
    """

    def __init__(self, path: epath.Path, events: epath.Path, *, after_step: int):
        self._path = path
        kept = [record for record in read_metrics(path) if record["step"] <= after_step]
        write_whole(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = GrowingFile(path)
        self._events = EventFile(events, after_step=after_step)

    def append(self, record: dict[str, Any]) -> None:
        """Add one record; "step" is among its keys.

        Raises:
          WriteFailed: the disk is full, or the folder of the run is gone.
        """
        self._events.append(record)
        with writing(str(self._path)):
            self._file.write((json.dumps(record) + "\n").encode())
            self._file.flush()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._events.close()
        except WriteFailed:
            if error is None:  # else what came first is the one to tell
                raise


class NoLog:
    """Takes the place of a `MetricsLog` in a process that writes nothing."""

    def append(self, record: dict[str, Any]) -> None:
        """Do nothing."""

    def __enter__(self) -> "NoLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


def read_metrics(path: epath.Path) -> list[dict[str, Any]]:
    """All records of a metrics file, in order; none where there is no file.

    A last line without its end, as a killed process leaves it, is left out.
    """
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
