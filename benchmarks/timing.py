"""Times of several methods, taken in turns, so that a disturbance of the machine meets all of them; and of main.py."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

# After a parallel region the threads of PyTorch stay awake for a moment, in the way of the next method.
PAUSE_SECONDS = 0.05


def interleave(
    runs: dict[str, Callable[[], Any]],
    seconds: float,
    at_least: int,
    at_most: int = 30,
    turn_seconds: float = 0.0,
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Rounds of one turn of each method, as many as fit into `seconds`.

    A turn is one run, or as many as fill `turn_seconds`: their mean counts.

    A first run that warms something up is not treated apart: the best of the rounds counts.

    Returns:
      The seconds of a run in each turn; and of methods that failed, which are not run again, the reason.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    failed: dict[str, str] = {}
    started = time.perf_counter()
    for rounds in range(at_most):
        elapsed = time.perf_counter() - started
        if rounds >= at_least and elapsed * (rounds + 1) / rounds > seconds:
            break
        # Each round begins with another method, so that a rhythm of the machine does not always meet the same one.
        names = list(runs)
        first = rounds % max(1, len(names))
        for name in names[first:] + names[:first]:
            if name in failed:
                continue
            time.sleep(PAUSE_SECONDS)
            try:
                mean = _mean_seconds(runs[name], turn_seconds)
            except (MemoryError, RuntimeError) as error:
                # Both frameworks report a full device as a RuntimeError.
                failed[name] = f"failed: {(str(error).splitlines() or [type(error).__name__])[0][:80]}"
                del times[name]
            else:
                times[name].append(mean)
    return times, failed


def _mean_seconds(run: Callable[[], Any], turn_seconds: float) -> float:
    before = time.perf_counter()
    for count in itertools.count(1):
        run()
        elapsed = time.perf_counter() - before
        if elapsed >= turn_seconds:
            return elapsed / count


def time_main(arguments: Sequence[str], cache: str) -> tuple[float, str]:
    """Seconds of a command of main.py, and what it printed; it keeps compiled programs in the folder `cache`.

    Raises:
      SystemExit: it failed.
    """
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "main.py", *arguments],
        env=kept | {"XDG_CACHE_HOME": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return seconds, ended.stdout + ended.stderr
