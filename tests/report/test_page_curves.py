"""The curves of a page are the records."""

import numpy as np

from tcl_jax.report.page_curves import diagnostic_curves, numeric_keys, series_of, training_curves, warnings
from tests.report.pages import DIAGNOSTICS, Page, section_page


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
    logged = [{"step": 10 * (i + 1), "loss": float(x)} for i, x in enumerate(losses)]
    found = series_of(logged, "loss", name="run")
    assert len(found.x) == 501
    blocks = [losses[start : start + 3] for start in range(0, 1501, 3)]
    np.testing.assert_allclose(found.y, [b.mean() for b in blocks])
    np.testing.assert_array_equal(found.y_low, [b.min() for b in blocks])
    np.testing.assert_array_equal(found.y_high, [b.max() for b in blocks])
    np.testing.assert_allclose(found.x[[0, -1]], [20, 15010])


def labels(captioned):
    """What the axis of each picture shows."""
    return [one.picture.alt.removesuffix(" against step") for one in captioned]


def test_a_run_without_records_says_so():
    assert training_curves([]) == diagnostic_curves([]) == []
    assert "no records" in Page(section_page("run/curves", [])).text


def test_what_is_not_recorded_is_not_shown():
    assert labels(training_curves(records(3))) == ["loss", "learning rate"]
    assert labels(training_curves([], [0.5, 0.4])) == ["loss against epoch of the linear probe"]
    with_knn = [*records(3), {"step": 3, "epoch": 0, "validation_knn": 0.5}]
    assert labels(training_curves(with_knn)) == ["loss", "kNN", "learning rate"]
    assert diagnostic_curves(with_knn) == []  # cross-entropy has no diagnostics


def test_every_metric_of_held_out_images_has_a_curve():
    found = training_curves(
        [*records(1), {"step": 1, "validation_knn": 0.5, "validation_my_loss": 7.0}], (), {"knn"}
    )
    assert labels(found) == ["loss", "kNN accuracy", "my loss", "learning rate"]
    assert found[1].caption == "kNN accuracy on the held-out training images."
    assert found[2].caption == "My loss on the held-out training images."


def test_the_loss_of_equal_outputs_stands_beside_the_loss():
    (loss, _) = training_curves(records(3, collapsed_loss=4.8))
    page = Page(section_page("run/curves", [loss]))
    assert "of equal outputs" in page.text
    assert "below which a run falls that learns" in page.text


def test_a_classifier_that_is_trained_along_has_its_curves():
    found = training_curves(
        [*records(2, classifier_accuracy=0.5, classifier_loss=1.5), {"step": 2, "validation_knn": 0.5}]
    )
    assert labels(found) == ["loss", "kNN", "accuracy", "cross-entropy", "learning rate"]
    assert "augmented training images" in found[2].caption


def test_warnings_are_those_of_the_records():
    assert warnings([*records(2), records(1, warning="It has collapsed.")[0], {"step": 3}]) == [
        "It has collapsed."
    ]
    assert warnings(records(3)) == []


def test_what_has_no_panel_is_shown_too():
    known = dict.fromkeys(["steps", "skipped", "views_per_second", "data_seconds"], 1.0)
    found = training_curves(records(3, **known, **DIAGNOSTICS, gradient_norm=2.0, note="text", empty=None))
    assert labels(found) == ["loss", "learning rate", "gradient norm"]
    assert numeric_keys([{"a": None, "b": "1"}, {"a": 1.0}]) == ["a"]


def test_every_picture_says_what_it_means():
    drawn = diagnostic_curves(records(3, **DIAGNOSTICS))
    page = Page(section_page("run/diagnostics", drawn))
    assert len(page.all("figcaption")) == len(page.all("svg", role="img")) == 5
    for word in ("hard positives", "Mean similarity", "Alignment", "Uniformity", "RankMe"):
        assert word in page.text
    some_do_not_count = diagnostic_curves(records(3, **DIAGNOSTICS | {"counted": 0.9}))
    assert labels(some_do_not_count)[5:] == ["share of the rows"]
