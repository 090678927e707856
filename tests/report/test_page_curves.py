"""The curves of a page are the records."""

import numpy as np

from tcl_jax.report.page_curves import diagnostic_curves, series_of, training_curves
from tests.report.pages import Page
from tests.report.test_html import page_of

FIGURES = {
    "counted": 1.0,
    "positive_similarity": 0.9,
    "negative_similarity": 0.1,
    "hard_positive_mass": 0.3,
    "hard_negative_mass": 0.2,
    "alignment": 0.1,
    "uniformity": -2.0,
}


def records(count, **more):
    return [
        {"step": i + 1, "epoch": 0, "loss": 5.0 / (i + 1), "learning_rate": 0.1, **more} for i in range(count)
    ]


def test_short_curves_are_the_records_themselves():
    found = series_of([*records(5), {"step": 6, "validation_knn": 0.5}], "loss", name="run")
    np.testing.assert_array_equal(found.x, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(found.y, [5 / 1, 5 / 2, 5 / 3, 5 / 4, 5 / 5])
    assert found.y_low is None


def test_long_curves_are_means_in_a_band_of_extremes():
    random = np.random.RandomState(0)
    losses = random.randn(1501)
    told = [{"step": 10 * (i + 1), "loss": float(x)} for i, x in enumerate(losses)]
    found = series_of(told, "loss", name="run")
    assert len(found.x) == 501
    blocks = [losses[start : start + 3] for start in range(0, 1501, 3)]
    np.testing.assert_allclose(found.y, [b.mean() for b in blocks])
    np.testing.assert_array_equal(found.y_low, [b.min() for b in blocks])
    np.testing.assert_array_equal(found.y_high, [b.max() for b in blocks])
    np.testing.assert_allclose(found.x[[0, -1]], [20, 15010])


def test_a_run_without_records_says_so():
    part = training_curves([])
    assert part.files == {}
    assert "no records" in Page(page_of(part.section.body)).text
    assert diagnostic_curves([]) is None


def test_what_is_not_recorded_is_not_shown():
    assert set(training_curves(records(3)).files) == {"loss.png", "learning_rate.png"}
    assert set(training_curves([], [0.5, 0.4]).files) == {"probe_loss.png"}
    with_knn = [*records(3), {"step": 3, "epoch": 0, "validation_knn": 0.5}]
    assert set(training_curves(with_knn).files) == {"loss.png", "learning_rate.png", "accuracy.png"}
    assert diagnostic_curves(with_knn) is None  # cross-entropy has no diagnostics


def test_every_picture_says_what_it_means():
    part = diagnostic_curves(records(3, **FIGURES))
    assert set(part.files) == {"hard_mass.png", "similarities.png", "alignment.png", "uniformity.png"}
    page = Page(page_of(part.section.body))
    assert len(page.all("figcaption")) == len(page.all("svg", role="img")) == 4
    for word in ("hard positives", "Mean similarity", "Alignment", "Uniformity"):
        assert word in page.text
    some_do_not_count = diagnostic_curves(records(3, **FIGURES | {"counted": 0.9}))
    assert "counted.png" in some_do_not_count.files
