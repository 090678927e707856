"""A trace of some steps, to see where their time goes."""

from types import TracebackType
from typing import Any

import jax
from etils import epath
from tqdm import tqdm


class Profile:
    """Traces the steps after the first of this process, which compiles. A context manager: leaving it ends the trace.

    Args:
      directory: where the trace is written; it is made if it is missing.
      steps: how many to trace, fewer where the run ends before; 0 traces nothing.
    """

    def __init__(self, directory: epath.Path, steps: int):
        self._directory, self._steps = directory, steps
        self._numbers: list[int] = []
        self._running = False
        self._annotation: jax.profiler.StepTraceAnnotation | None = None

    def begin_step(self, number: int, *, first: bool) -> bool:
        """Called before a step, the `first` of this process or a later one; True where tracing began with it."""
        begins = not first and not self._numbers and self._steps > 0
        if begins:
            jax.profiler.start_trace(str(self._directory))
            self._running = True
        if self._running:
            self._numbers.append(number)
            self._annotation = jax.profiler.StepTraceAnnotation("train", step_num=number)
            self._annotation.__enter__()
        return begins

    def end_step(self, metrics: Any) -> bool:
        """Called after a step with what it gives; True where tracing ended with it, and the device is done with it."""
        if self._annotation is not None:
            self._annotation.__exit__(None, None, None)
            self._annotation = None
        ends = self._running and len(self._numbers) == self._steps
        if ends:
            jax.block_until_ready(metrics)
            self._stop()
        return ends

    def _stop(self) -> None:
        self._running = False
        jax.profiler.stop_trace()
        count, last = len(self._numbers), self._numbers[-1] + 1
        tqdm.write(
            f"The trace of {count} step{'s' * (count > 1)}, up to step {last}, is in {self._directory}: "
            f"open it with `xprof --port=8791 {self._directory}` (pip install xprof)."
        )

    def __enter__(self) -> "Profile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running:
            self._stop()
        elif self._steps and not self._numbers and error is None:
            tqdm.write(
                "Nothing was profiled: no step was left after the first of this process, which compiles."
            )
