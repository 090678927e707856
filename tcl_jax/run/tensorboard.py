"""The log of a run for TensorBoard, without TensorFlow."""

import numbers
import time
from typing import Any

from etils import epath
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter, register_writer_factory

from tcl_jax.files import GrowingFile, writing

# Where TensorBoard shows the numbers of a record; all others are in "diagnostics".
_TRAINING = (
    *("loss", "skipped", "learning_rate", "temperature", "views_per_second", "data_seconds"),
    *("classifier_loss", "classifier_accuracy"),
)
_PLACES = ("step", "epoch", "steps")  # which are not numbers to show


def tag_of(name: str) -> str:
    """The tag of a number of metrics.jsonl.

    >>> tag_of("loss"), tag_of("validation_knn"), tag_of("alignment")
    ('train/loss', 'validation/knn', 'diagnostics/alignment')
    """
    if name in _TRAINING:
        return f"train/{name}"
    if name.startswith("validation_"):
        return f"validation/{name.removeprefix('validation_')}"
    return f"diagnostics/{name}"


class _RemoteFiles:
    """How tensorboardX opens a file in remote storage: through epath, as all else of a run is."""

    @staticmethod
    def open(path: str) -> GrowingFile:
        return GrowingFile(epath.Path(path), new=True)


for _scheme in ("gs", "s3"):
    register_writer_factory(_scheme, _RemoteFiles)


class EventFile:
    """One file of TensorBoard events, beside those of earlier starts of the run.

    tensorboardX's own SummaryWriter hands events to a thread, so that a killed process loses the last ones; here each
    is in the file when `append` returns.

    Args:
      directory: where TensorBoard looks; it is made if it is missing.
      after_step: TensorBoard hides what earlier files hold of later steps: the steps are about to be done again.
    """

    def __init__(self, directory: epath.Path, *, after_step: int):
        self._path = (
            directory / f"events.out.tfevents.{time.time():017.6f}"
        )  # TensorBoard reads in order of names
        with writing(str(self._path)):
            directory.mkdir(parents=True, exist_ok=True)
            self._writer = RecordWriter(str(self._path))
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=after_step + 1, session_log=SessionLog(status=SessionLog.START)))

    def append(self, record: dict[str, Any]) -> None:
        """Write the numbers of a record of metrics.jsonl."""
        values = [
            Summary.Value(tag=tag_of(name), simple_value=value)
            for name, value in record.items()
            if isinstance(value, numbers.Real) and name not in _PLACES
        ]
        self._write(Event(step=record["step"], summary=Summary(value=values)))

    def close(self) -> None:
        """End the file."""
        with writing(str(self._path)):
            self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with writing(str(self._path)):
            self._writer.write(event.SerializeToString())
            self._writer.flush()
