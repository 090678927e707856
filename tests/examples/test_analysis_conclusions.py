"""What is said of the responses holds, and does not hold where it is said not to."""

import numpy as np
import pytest

from examples.analysis.conclusions import break_even_k2, k1_share, report, stronger_where, supcon_of
from examples.analysis.responses import Setting, closed_form, closed_form_curve
from examples.analysis.surroundings import Surroundings

pytestmark = pytest.mark.slow  # of examples

SURROUNDINGS = Surroundings(12, 115)
DEFAULT = Setting("tcl", 0.1, 5000.0, 1.0)
GRID = np.linspace(-1.0, 1.0, 401)


def sizes(kind, setting, similarity, surroundings=SURROUNDINGS):
    return np.abs(closed_form_curve(kind, similarity, surroundings, setting))


@pytest.mark.parametrize("k1", [100.0, 1000.0, 5000.0, 50000.0])
def test_positives_are_answered_more_strongly_in_the_stated_range_and_nowhere_else(k1):
    setting = DEFAULT._replace(k1=k1)
    ((low, high),) = stronger_where("positive", SURROUNDINGS, setting)
    assert low == -1.0
    assert SURROUNDINGS.hard("positive")[1] < high < 0.8  # all hard positives, and not all easy ones
    supcon = supcon_of(setting)
    inside, beyond = np.linspace(low, high, 200), np.linspace(high + 0.001, 1.0, 200)
    for similarity, stronger in ((inside, True), (beyond, False)):
        larger = sizes("positive", setting, similarity) > sizes("positive", supcon, similarity)
        assert np.all(larger == stronger)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("num_positives", [1, 3, 100])
def test_with_its_sign_the_pull_is_above_supcons_at_every_similarity(temperature, num_positives):
    setting = Setting("tcl", temperature, 5000.0, 1.0)
    pull, supcon = (
        -closed_form_curve("positive", GRID, Surroundings(num_positives, 115), each)
        for each in (setting, supcon_of(setting))
    )
    assert np.all(pull >= supcon)
    assert np.all((pull > supcon) | (temperature == 0.05))  # there k1's terms are below rounding


def test_with_one_positive_the_response_is_stronger_everywhere():
    assert stronger_where("positive", Surroundings(1, 115), DEFAULT) == [(-1.0, 1.0)]


def test_equal_losses_are_nowhere_stronger():
    for kind in ("positive", "negative"):
        assert stronger_where(kind, SURROUNDINGS, Setting("tcl", 0.1, 0.0, 1.0)) == []


def test_negatives_are_pushed_harder_above_the_even_k2_and_only_there():
    even = break_even_k2(SURROUNDINGS.pairs("negative", np.array(0.5)), DEFAULT)
    assert 4.7 < even < 4.9
    for k2, expected in ((1.0, []), (0.999 * even, []), (1.001 * even, [(-1.0, 1.0)]), (20.0, [(-1.0, 1.0)])):
        assert stronger_where("negative", SURROUNDINGS, DEFAULT._replace(k2=k2)) == expected
    np.testing.assert_allclose(
        sizes("negative", DEFAULT._replace(k2=even), GRID),
        sizes("negative", supcon_of(DEFAULT), GRID),
        rtol=1e-12,
    )


@pytest.mark.parametrize("setting", [supcon_of(DEFAULT), DEFAULT, DEFAULT._replace(temperature=0.01, k2=5.0)])
def test_responses_of_an_anchor_add_up_to_what_k1s_share_says(setting):
    pairs = SURROUNDINGS.pairs("positive", np.array(0.1))
    total = sum(np.sum(responses) for responses in closed_form(pairs, setting))
    expected = -(1 + 1 / setting.temperature) * k1_share(pairs, setting)
    assert total == pytest.approx(expected, rel=1e-9, abs=1e-11 / setting.temperature)


def test_the_tables_say_it():
    text = report(SURROUNDINGS, [supcon_of(DEFAULT), DEFAULT, DEFAULT._replace(k2=20.0)])
    positives, negatives, others = text.split("\n\n")
    assert positives.count("-1.00 to 0.7") == 2
    assert "nowhere" in negatives.splitlines()[-2]
    assert "everywhere" in negatives.splitlines()[-1]
    assert len(others.splitlines()) == 4 + 12
