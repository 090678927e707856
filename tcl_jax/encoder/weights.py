"""The trained encoders that come with the package, by name; weights/ has a card of each."""

import os
import pathlib

from tcl_jax.files import packaged
from tcl_jax.models.tensor_file import SUFFIX


def known() -> list[str]:
    """Names of the encoders that come with the package.

    >>> "digits_tcl" in known()
    True
    """
    return sorted(path.stem for path in packaged("weights").glob(f"*{SUFFIX}"))


def path_of(given: str | os.PathLike[str]) -> str:
    """The file of the encoder that is called `given`, or `given` where that is a path or no such name."""
    text = os.fspath(given)
    ours = text in known() and not pathlib.Path(text).exists()
    return str(packaged("weights") / f"{text}{SUFFIX}") if ours else text
