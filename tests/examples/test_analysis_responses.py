"""The responses: formula against autodiff, against finite differences and against what follows by hand."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples.analysis import responses, surroundings
from examples.analysis.responses import (
    Setting,
    autodiff_curve,
    closed_form,
    closed_form_curve,
    curve,
    disagreement,
)
from examples.analysis.surroundings import Pairs, Surroundings, rows_of
from tcl_jax import losses

pytestmark = pytest.mark.slow  # of examples

SETTINGS = [
    Setting("supcon", 0.1, 0.0, 1.0),
    Setting("tcl", 0.1, 5000.0, 1.0),
    Setting("tcl", 0.5, 10.0, 3.0),
    Setting("tcl", 0.01, 100.0, 0.5),  # exponentials beyond float32
]
SIMILARITY = np.linspace(-1.0, 1.0, 9)
SURROUNDINGS = Surroundings(4, 9)


def loss_by_definition(positives, negatives, setting):
    _, t, k1, k2 = setting
    denominator = np.sum(np.exp(positives / t) + k1 * np.exp(-positives)) + k2 * np.sum(np.exp(negatives / t))
    return np.log(denominator) - np.mean(positives) / t


@pytest.mark.parametrize("kind", ["positive", "negative"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_formula_equals_autodiff_of_the_public_losses(kind, setting):
    assert disagreement(curve(kind, SIMILARITY, SURROUNDINGS, setting)) < 1e-6


def test_supcon_goes_through_supcon_loss(monkeypatch):
    surroundings = Surroundings(2, 3)  # of a size that no other test has compiled

    def doubled(*arguments, **options):
        return 2.0 * losses.supcon_loss(*arguments, **options)

    monkeypatch.setattr(responses, "supcon_loss", doubled)
    both = curve("positive", SIMILARITY, surroundings, SETTINGS[0])
    np.testing.assert_allclose(both.autodiff, 2.0 * both.closed_form, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS[:3], ids=str)
def test_formula_equals_finite_differences(setting):
    pairs = SURROUNDINGS.pairs("positive", np.array(-0.3))
    formula, step = closed_form(pairs, setting), 1e-6
    for kind, number in (("positives", 0), ("positives", -1), ("negatives", 0), ("negatives", -1)):
        sides = []
        for side in (step, -step):
            moved = {name: values.copy() for name, values in pairs._asdict().items()}
            moved[kind][number] += side
            sides.append(loss_by_definition(**moved, setting=setting))
        expected = (sides[0] - sides[1]) / (2 * step)
        assert getattr(formula, kind)[number] == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(("kind", "moved"), [("positive", 4), ("negative", 13)])
def test_autodiff_equals_the_slope_along_a_path_on_the_sphere(kind, moved):
    setting = SETTINGS[1]
    (rows,), labels = rows_of(SURROUNDINGS.pairs(kind, np.array([0.2])))
    beside = rows[moved] - 0.2 * rows[0]
    beside /= np.linalg.norm(beside)
    with jax.enable_x64(True):

        def along(s):
            z = jnp.asarray(rows).at[moved].set(s * rows[0] + jnp.sqrt(1 - s**2) * beside)
            return losses.tcl_loss(z, labels, temperature=0.1, k1=5000.0, k2=1.0, reduction="none")[0]

        slope = float(jax.grad(along)(0.2))
    assert autodiff_curve(kind, np.array([0.2]), SURROUNDINGS, setting)[0] == pytest.approx(slope, rel=1e-10)


def test_example_in_the_docstring():
    assert doctest.testmod(surroundings) == (0, 3)  # none failed of three


def test_rows_have_unit_length_and_the_similarities_asked_for():
    pairs = SURROUNDINGS.pairs("negative", SIMILARITY)
    rows, labels = rows_of(pairs)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=-1), 1.0, atol=1e-14)
    similarities = np.einsum("gnd,gd->gn", rows[:, 1:], rows[:, 0])
    np.testing.assert_allclose(similarities, np.concatenate(pairs, axis=-1), atol=1e-14)
    assert labels.tolist() == [0] * 5 + [1] * 9
    np.testing.assert_array_equal(similarities[:, -1].round(12), SIMILARITY)


def test_without_k1_and_with_k2_of_1_it_is_supcon():
    for kind in ("positive", "negative"):
        tcl = curve(kind, SIMILARITY, SURROUNDINGS, Setting("tcl", 0.1, 0.0, 1.0))
        supcon = curve(kind, SIMILARITY, SURROUNDINGS, SETTINGS[0])
        np.testing.assert_array_equal(tcl.closed_form, supcon.closed_form)
        np.testing.assert_allclose(tcl.autodiff, supcon.autodiff, rtol=1e-10)


def test_two_pairs_by_hand():
    # exp(0) = 1 for both: D = 1 + k1 + k2 with k1 = 4 and k2 = 5.
    by_hand = closed_form(Pairs(np.zeros(1), np.zeros(1)), Setting("tcl", 0.5, 4.0, 5.0))
    assert by_hand.positives == pytest.approx([(2.0 - 4.0) / 10.0 - 2.0])
    assert by_hand.negatives == pytest.approx([2.0 * 5.0 / 10.0])


def test_pull_rises_and_push_falls_with_k1_while_push_rises_with_k2():
    def moved(kind, **changed):
        return closed_form_curve(kind, SIMILARITY, SURROUNDINGS, SETTINGS[1]._replace(**changed))

    for low, high in ((0.0, 10.0), (10.0, 5000.0), (5000.0, 1e6)):
        assert np.all(-moved("positive", k1=high) > -moved("positive", k1=low))
        assert np.all(moved("negative", k1=high) < moved("negative", k1=low))
    assert np.all(moved("negative", k2=5.0) > moved("negative", k2=1.0))


def test_limits_of_large_coefficients():
    pairs, t = SURROUNDINGS.pairs("positive", np.array(-0.5)), 0.1
    pulled = closed_form(pairs, Setting("tcl", t, 1e30, 1.0))
    weights = np.exp(-pairs.positives) / np.sum(np.exp(-pairs.positives))
    np.testing.assert_allclose(-pulled.positives, 1 / (4 * t) + weights, rtol=1e-12)
    np.testing.assert_allclose(pulled.negatives, 0.0, atol=1e-20)
    pushed = closed_form(pairs, Setting("tcl", t, 5000.0, 1e30))
    np.testing.assert_allclose(-pushed.positives, 1 / (4 * t), rtol=1e-12)
    assert np.sum(pushed.negatives) == pytest.approx(1 / t)
