"""A run killed at random moments, in real processes; `python -m tests.modes.kill_often --help` kills more often."""

import pytest

from tests.modes.kill_often import check

pytestmark = pytest.mark.slow


def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(tmp_path):
    print(check(tmp_path, 5, (1,), wide=False, seed=0))
