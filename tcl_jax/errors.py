"""The errors that end a run with one sentence instead of a traceback."""

import signal


class UserError(ValueError):
    """A mistake in a config, a path or a data set.

    The message is one sentence: what was given, what is expected, what to do. `main.py` prints it without a traceback
    and ends with exit code 2.
    """


class RunFailed(RuntimeError):
    """A run that cannot go on: its numbers are no longer finite, or its checkpoints cannot be written or read.

    The message is one sentence: what happened, what is still usable, what to try. `main.py` ends with exit code 1.
    """


class Interrupted(Exception):
    """Training was stopped by a signal after its state was saved.

    Attributes:
      signal: SIGINT or SIGTERM.
      step: the step of the checkpoint.
    """

    def __init__(self, number: signal.Signals, step: int):
        super().__init__(
            f"Stopped by {number.name} after step {step}, which is saved: repeat the command to continue."
        )
        self.signal = number
        self.step = step
