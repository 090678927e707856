"""Cases of a parametrized test that run with the slow tests alone, beside quick ones of the same test."""

import pytest


def slow(*cases):
    """As in `parametrize("depth", [18, *slow(34, 50)])`; a tuple is one case of several arguments."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in cases
    ]
