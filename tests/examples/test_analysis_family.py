"""The picture of all losses: autodiff against the formulas written out, and what the page says of it."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from examples.analysis import family
from examples.analysis.surroundings import Surroundings
from tests.losses import formulas

pytestmark = pytest.mark.slow  # of examples

SURROUNDINGS, T = Surroundings(12, 115), 0.1
GRID = np.linspace(-1.0, 1.0, 21)
FORMULAS = {
    "TCL": lambda s, p, q: formulas.tcl(s, p, q, T, k1=5000.0, k2=1.0),
    "SupCon, out": lambda s, p, q: formulas.tcl(s, p, q, T),
    "SupCon, in": lambda s, p, q: formulas.supcon_inside(s, p, q, T),
    "SINCERE": lambda s, p, q: formulas.one_positive(s, p, q, T),
    "decoupled": lambda s, p, q: formulas.decoupled(s, p, q, T),
    "NT-Xent": lambda s, p, q: formulas.tcl(s, p, q, T),
    "SigLIP": lambda s, p, q: formulas.siglip(s, p, q, 1.0 / T, -10.0),
}


def responses(name, kind, similarity=GRID):
    return family.response(name, kind, similarity, SURROUNDINGS, T)


def by_formula(name, kind, surroundings):
    """A complex step along the moved similarity."""
    pairs = surroundings.pairs(kind, GRID)
    s = np.concatenate(pairs, axis=-1).astype(complex)
    count = surroundings.num_positives
    s[:, count - 1 if kind == "positive" else -1] += 1e-30j
    positive = np.arange(s.shape[1]) < count
    if name == "NT-Xent":
        positive &= np.arange(s.shape[1]) == count - 1
    p = np.broadcast_to(positive.astype(float), s.shape)
    return np.imag(FORMULAS[name](s, p, 1.0 - p)[0]) / 1e-30


@pytest.mark.parametrize("counts", [(12, 115), (1, 5), (2, 5), (3, 1)], ids=str)
@pytest.mark.parametrize("kind", ["positive", "negative"])
@pytest.mark.parametrize("name", family.LOSSES)
def test_autodiff_equals_the_formula_written_out(name, kind, counts):
    surroundings = Surroundings(*counts)
    expected = by_formula(name, kind, surroundings)
    found = family.response(name, kind, GRID, surroundings, T)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())


def test_inside_the_logarithm_the_pull_goes_to_the_nearest_positives():
    outside, inside = -responses("SupCon, out", "positive"), -responses("SupCon, in", "positive")
    hard = GRID <= 0.0
    assert np.all(inside[hard] < 1e-3 * outside[hard])
    assert np.all(inside > 0)
    np.testing.assert_allclose(
        responses("SupCon, in", "negative"), responses("SupCon, out", "negative"), rtol=1e-9
    )


def test_of_the_losses_with_labels_only_those_with_all_positives_in_one_denominator_push_one_away():
    easy = np.array([0.9, 1.0])
    for name in family.LOSSES:
        assert np.all((responses(name, "positive", easy) > 0) == (name in ("TCL", "SupCon, out"))), name


def test_sincere_lets_go_of_easy_positives_and_decoupled_never_does():
    sincere, decoupled = -responses("SINCERE", "positive"), -responses("decoupled", "positive")
    np.testing.assert_allclose(decoupled, 1 / (12 * T), rtol=1e-9)
    assert np.all(np.diff(sincere) < 0)
    assert sincere[0] == pytest.approx(decoupled[0], rel=1e-6)
    assert sincere[-1] < 0.1 * decoupled[-1]
    pushes = [responses(name, "negative") for name in ("decoupled", "SINCERE", "SupCon, out", "TCL")]
    for more, less in itertools.pairwise(pushes):
        assert np.all(more > less)


def test_a_lone_positive_is_pulled_twelve_times_as_hard_and_siglip_does_not_share_its_pull():
    hard = np.array([-1.0, -0.5])
    for name in ("NT-Xent", "SigLIP"):
        ratio = responses(name, "positive", hard) / responses("SupCon, out", "positive", hard)
        np.testing.assert_allclose(ratio, 12.0, rtol=1e-3)
    np.testing.assert_allclose(responses("SigLIP", "positive", np.array([1.0])), -5.0, rtol=1e-9)
    alone = family.response("SigLIP", "positive", GRID, Surroundings(1, 5), T)
    np.testing.assert_allclose(responses("SigLIP", "positive"), alone, rtol=1e-9)


def test_picture_is_a_small_png():
    content = family.draw(SURROUNDINGS, T)
    assert len(content) < 150_000
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1200
