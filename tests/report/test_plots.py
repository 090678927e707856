"""Pictures show their data, are the same each time, and can stand on one page."""

import io
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tcl_jax.report.plots import PALETTE, Series, confusion, curves
from tests.report.pages import EVIL, Page, page_with

STEPS = np.arange(1, 41)


def some_curves(name="a", names=("one", "two")):
    series = [
        Series(n, STEPS, np.sin(STEPS / (4 + k)), -np.ones(40), np.ones(40)) for k, n in enumerate(names)
    ]
    return curves(series, name=name, x_label="step", y_label="loss")


def some_confusion(name="b", classes=3, names=None):
    counts = np.diag(np.arange(1, classes + 1))
    counts[0, -1] = 7
    return confusion(counts, names or [f"c{i}" for i in range(classes)], name=name, alt="what it shows")


@pytest.mark.slow
def test_the_same_picture_has_the_same_bytes():
    for make in (some_curves, some_confusion):
        assert (make().svg, make().png) == (make().svg, make().png)


def test_no_setting_of_matplotlib_changes():
    before = dict(matplotlib.rcParams)
    some_curves()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("make", [some_curves, some_confusion])
def test_pictures_of_other_names_stand_on_one_page(make):
    body = make("first").svg + make("second").svg
    page = Page(page_with(body))
    assert len(page.all("svg", role="img")) == 2
    assert all(a["aria-label"] for a in page.all("svg"))
    assert "http" not in body
    assert "<style" not in body


def test_svg_follows_the_page_and_png_is_for_paper():
    picture = some_curves()
    assert "currentColor" in picture.svg
    assert "var(--series-0)" in picture.svg
    assert "var(--series-1)" in picture.svg
    assert not re.search(r"#[0-9a-f]{6}", picture.svg)
    with Image.open(io.BytesIO(picture.png)) as png:
        pixels = np.asarray(png.convert("RGB"), int)
    assert (pixels[0, 0] == 255).all()
    for color in PALETTE[:2]:
        wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (abs(pixels - wanted).max(-1) < 8).any(), color


def test_curves_differ_by_more_than_colour_and_are_named():
    root = ElementTree.fromstring(some_curves().svg)
    lines = [e.get("style") for e in root.iter("path") if "--series-" in e.get("style", "")]
    dashes = {
        number: {("stroke-dasharray" in s) for s in lines if f"--series-{number}" in s and "stroke:" in s}
        for number in (0, 1)
    }
    assert dashes == {0: {False}, 1: {True}}
    texts = [e.text for e in root.iter("text")]
    assert {"one", "two", "step", "loss"} <= set(texts)
    alone = ElementTree.fromstring(some_curves(names=["one"]).svg)
    assert "one" not in [e.text for e in alone.iter("text")]  # no other to confuse it with


def test_a_curve_goes_through_its_points():
    """Over the pixels of the picture by a straight line: equal steps in the data are equal steps there."""
    y = np.array([0.0, 1.0, 4.0, 2.0])
    picture = curves([Series("a", [0, 1, 2, 3], y)], name="a", x_label="x", y_label="y")
    root = ElementTree.fromstring(picture.svg)
    (line,) = [
        e for e in root.iter("path") if "var(--series-0)" in e.get("style") and e.get("d").count("L") == 3
    ]
    points = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", line.get("d")), float)
    np.testing.assert_allclose(np.diff(points[:, 0]), np.diff(points[:, 0])[0], rtol=1e-4)
    down = points[:, 1] - points[0, 1]
    np.testing.assert_allclose(down / down[2], y / 4, atol=1e-4)


def test_points_that_are_not_numbers_are_left_out():
    broken, whole = (
        curves([Series("a", x, y)], name="a", x_label="x", y_label="y").svg
        for x, y in (([0, 1, 2], [1, np.nan, 2]), ([0, 2], [1, 2]))
    )
    assert broken == whole


@pytest.mark.parametrize(
    "make",
    [
        lambda n: some_curves(names=[n, "b"]),
        lambda n: curves([Series("a", [0], [1])], name="a", x_label=n, y_label=n),
        lambda n: some_confusion(names=[n, "b", "c"]),
    ],
)
def test_names_of_users_are_texts(make):
    for name in (EVIL, "$x_1$ \\frac", "#010203 id=\"a\" 'DejaVu Sans'", "猫\x00\n"):
        svg = make(name).svg
        page = Page(page_with(svg))
        plain = Page(page_with(make("name").svg))
        assert sorted({tag for tag, _ in page.tags}) == sorted({tag for tag, _ in plain.tags})
        assert not page.scripts
        assert name[:8].strip("\x00\n")[:1] in page.text


def test_confusion_counts_are_written_where_there_is_room():
    texts = [e.text for e in ElementTree.fromstring(some_confusion().svg).iter("text")]
    assert {"1", "2", "3", "7", "c0", "c1", "c2"} <= set(texts)
    many = [e.text for e in ElementTree.fromstring(some_confusion(classes=100).svg).iter("text")]
    assert "c5" not in many
    assert "predicted class, by its number" in many


def test_single_errors_among_many_images_are_seen():
    counts = np.diag([1000] * 30)
    counts[3, 20] = 1
    picture = confusion(counts, ["c"] * 30, name="a", alt="")
    with Image.open(io.BytesIO(picture.png)) as png:
        pixels = np.asarray(png.convert("RGB"), int)
    inside = pixels[40:-120, 120:-40]
    # Neither paper nor the shade of the diagonal, in a spot as large as a cell.
    shades, sizes = np.unique(inside.reshape(-1, 3), axis=0, return_counts=True)
    faint = [
        (tuple(s), n)
        for s, n in zip(shades.tolist(), sizes, strict=True)
        if 100 < n < 1000 and s[2] > s[0] + 15
    ]
    assert faint
