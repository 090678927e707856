"""The log of a run: one JSON object per line, each with the step after which it was taken; and for other readers."""

import json
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from etils import epath

from tcl_jax.errors import UserError, WriteFailed
from tcl_jax.files import GrowingFile, write_whole, writing
from tcl_jax.resolve import arguments_of, resolve
from tcl_jax.run.tensorboard import EventFile


class Log(Protocol):
    """What takes the records of a run."""

    def append(self, record: dict[str, Any]) -> None:
        """Add one record: numbers by name, "step" and "epoch" among them; and "warning", a sentence."""


def _tensorboard(workdir: epath.Path, after_step: int) -> EventFile:
    return EventFile(workdir / "tensorboard", after_step=after_step)


SINKS: dict[str, Callable[..., Any]] = {"tensorboard": _tensorboard}
"""Further logs by name: functions of those of workdir, after_step, name and config that they name."""


def resolve_sinks(names: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """The logs that `log.to` names, beside metrics.jsonl: known ones, and the user's own.

    A log of the user's own is "module:attribute": a function that is handed those of workdir (the folder of the run, a
    path), after_step, name (of the run) and config (a dict) that it names, and makes an object with `append(record)`
    and, where there is something to end, `close()`. A run that is continued repeats steps: a log whose function names
    after_step gets the records of later steps again, any other gets each record once.

    Raises:
      UserError: an unknown name, or a function that needs another argument.
    """
    example = "my_log.py with `def make(workdir): ...` that returns an object with append(record)"
    found = {name: resolve(name, SINKS, field="log.to", example=example) for name in names}
    for make in found.values():
        arguments_of(make, dict.fromkeys(["workdir", "after_step", "name", "config"]), field="log.to")
    return found


class MetricsLog:
    """Appends records to a file and to the sinks, and continues all where a checkpoint was taken.

    A context manager: leaving it closes the sinks. Each record is in all of them when `append` returns.

    Args:
      path: the file, metrics.jsonl; it is made if it is missing.
      after_step: records of later steps are removed: the steps are about to be done again. 0 starts anew.
      sinks: from `resolve_sinks`.
      name, config: of the run, for the sinks.

    Attributes:
      kept: the records of the steps until then.
    """

    def __init__(
        self,
        path: epath.Path,
        *,
        after_step: int,
        sinks: Mapping[str, Callable[..., Any]] | None = None,
        name: str = "",
        config: Mapping[str, Any] | None = None,
    ):
        self._path = path
        written = read_metrics(path)
        self.kept = [record for record in written if record["step"] <= after_step]
        self._repeated = {_mark(record) for record in written if record["step"] > after_step}
        write_whole(path, "".join(json.dumps(record) + "\n" for record in self.kept))
        self._file = GrowingFile(path)
        available = dict(workdir=path.parent, after_step=after_step, name=name, config=config)
        self._sinks = []
        for known, make in (sinks or {}).items():
            options = arguments_of(make, available, field="log.to")
            sink = make(**options)
            if not callable(getattr(sink, "append", None)):
                raise UserError(
                    f"{known!r} of log.to makes a {type(sink).__name__}, expected an object with append(record)."
                )
            self._sinks.append((sink, "after_step" in options))

    def append(self, record: dict[str, Any]) -> None:
        """Add one record; "step" is among its keys.

        Raises:
          WriteFailed: the disk is full, or the folder of the run is gone.
        """
        repeated = _mark(record) in self._repeated
        for sink, takes_again in self._sinks:
            if takes_again or not repeated:
                sink.append(record)
        with writing(str(self._path)):
            self._file.write((json.dumps(record) + "\n").encode())
            self._file.flush()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sink, _ in self._sinks:
            try:
                getattr(sink, "close", lambda: None)()
            except WriteFailed:
                if error is None:  # else what came first is the one to report
                    raise


class NoLog:
    """Takes the place of a `MetricsLog` in a process that writes nothing."""

    kept: Sequence[dict[str, Any]] = ()

    def append(self, record: dict[str, Any]) -> None:
        """Do nothing."""


def _mark(record: Mapping[str, Any]) -> tuple[int, frozenset[str]]:
    """By which a record is the same when its step is done again."""
    return record["step"], frozenset(record)


def read_metrics(path: epath.Path) -> list[dict[str, Any]]:
    """All records of a metrics file, in order; none without a file.

    A last line without its end, as a killed process leaves it, is left out.
    """
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
