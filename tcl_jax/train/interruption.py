"""Ctrl-C and SIGTERM: a request that the loop answers between two steps, and the end of an evaluation."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType

import jax
from jax.experimental import multihost_utils

from tcl_jax.errors import Interrupted


@contextlib.contextmanager
def evaluating(step: int) -> Iterator[None]:
    """While entered, SIGINT or SIGTERM ends the evaluation of a step's state at once: nothing of it is to be saved.

    With several processes SIGTERM is JAX's, as for `Interruption`, and the evaluation goes on to its end.

    Raises:
      Interrupted: one of the two came.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        raise Interrupted(signal.Signals(number), step, evaluating=True)

    signals = (signal.SIGINT, signal.SIGTERM) if jax.process_count() == 1 else (signal.SIGINT,)
    before = {number: signal.signal(number, end) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interruption:
    """While entered, the first SIGINT or SIGTERM only asks the loop to stop; a second one ends the process as usual.

    With several processes, one that is asked is enough: JAX informs the others, and all stop before the same step.
    SIGTERM is then JAX's, from the start of the process to its end.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}
        self._alone = jax.process_count() == 1

    def before(self, step: int) -> signal.Signals | None:
        """The signal on which to stop before `step`, or None; called before each step, in all processes."""
        if self._alone:
            return self.signal
        return signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else None

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._restore()
        os.kill(os.getpid(), signal.SIGTERM)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __enter__(self) -> "Interruption":
        if self._alone:
            self._before = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        else:
            self._before = {signal.SIGINT: signal.signal(signal.SIGINT, self._pass_on)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
