"""The one kind of error that is the user's to mend, and not ours."""


class UserError(ValueError):
    """A mistake in a config, a path or a data set.

    The message is one sentence: what was given, what is expected, what to do. `main.py` prints it without a traceback
    and ends with exit code 2.
    """
