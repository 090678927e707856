"""The page of a run: whole, harmless whatever its texts are, and made of any run."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from tcl_jax.report.contact_sheet import Column
from tcl_jax.report.page import page
from tcl_jax.report.page_predictions import _nearest_others, count_confusions
from tests.report.page_of_run import run_of
from tests.report.pages import EVIL, Page


@pytest.fixture(scope="module")
def made():
    run = run_of(diagnostics=True)
    return run, page(run)


def with_evaluated(run, **changed):
    return run._replace(evaluated=run.evaluated._replace(**changed))


def read(files):
    return Page(files["index.html"].decode())


def test_the_page_has_everything_once(made):
    _, files = made
    found = read(files)
    titles = re.findall(r"<h2 id=\"([\w-]+)\"", files["index.html"].decode())
    assert titles == [
        "curves",
        "map",
        "confusion",
        "classes",
        "neighbours",
        "views",
        "diagnostics",
        "settings",
    ]
    for text in (
        "0.8750",
        "29 of 30 test images correct",
        "2.2500",
        "1 min 1 s",
        "1,234",
        "8 x cpu",
        "step 20",
        "kNN 0.7500 on the held-out images",
        "-7.5000",
        "Outlined points are misclassified by the linear probe.",
        "Test images misclassified by kNN",
    ):
        assert text in found.text
    assert all(picture["alt"] or picture.get("id") == "map-sprites" for picture in found.all("img"))


@pytest.mark.slow
def test_more_than_one_number_of_a_metric_is_shown_with_it():
    run = run_of()
    run.results["metrics"] |= {"labels_1_per_class": 0.5, "knn": 0.25}
    run.results["deviations"] = {"labels_1_per_class": 0.0125}
    run.results["top_5"] = {"knn": 0.75}
    run.results["macro_average"] = {"knn": 0.125, "linear_probe": 0.875}
    text = " ".join(read(page(run)).text.split())
    assert "0.5000 ± 0.0125 over draws" in text
    assert "test images correct top-5 0.7500 macro average 0.1250" in text
    assert "macro average 0.8750" not in text  # it is the accuracy


def test_images_are_shown_beside_those_that_they_retrieve():
    run = run_of(test=30)
    run.results["metrics"]["recall_at_1"] = 0.9
    test = run.evaluated.test
    test.features[3] = test.features[0]  # equal rows: neither finds itself
    found = read(page(run))
    assert "The nearest is of another class" not in found.text
    test.features[7] = test.features[0] + 1e-3  # of another class
    assert test.labels[7] != test.labels[0]
    text = read(page(run)).text
    assert "nearest other test images" in text
    # Image 7 has become one of those of class 0 that are like it; of its own class they are farther.
    assert "The nearest is of another class for 1 of 30" in text
    unit = test.features / np.linalg.norm(test.features, axis=1, keepdims=True)
    cosines = unit @ unit.T - 2 * np.eye(30)
    for positions in (np.arange(30), np.array([0, 3])):
        others = _nearest_others(test.features, positions, 4)
        assert not (others == positions[:, None]).any()
        np.testing.assert_allclose(
            np.take_along_axis(cosines[positions], others, axis=1),
            -np.sort(-cosines[positions], axis=1)[:, :4],
            atol=1e-9,
        )
    run.results["metrics"]["recall_at_1"] = None
    assert "nearest other test images" not in read(page(run)).text


@pytest.mark.slow
def test_the_only_image_of_its_class_retrieves_nothing():
    run = run_of(test=12, names=[f"class {i}" for i in range(9)])
    run.results["metrics"]["recall_at_1"] = 1.0
    lone = [2, 5, 8]
    run.evaluated.test.labels[lone] = [5, 6, 7]
    text = read(page(run)).text
    retrieval = text[
        text.index("The other test images with") : text.index("What training hands to the network")
    ]
    assert "class 0" in retrieval
    assert not any(re.search(rf"^\s*class {label}$", retrieval, re.MULTILINE) for label in (5, 6, 7))


def test_neighbours_of_other_classes_alone_are_not_shown():
    run = run_of()
    run.evaluated.train.labels[:] = 0
    run.evaluated.test.labels[:] = np.where(run.evaluated.test.labels == 0, 1, run.evaluated.test.labels)
    assert "nearest training images" not in read(page(run)).text


def test_pictures_for_slides_lie_beside_the_page(made):
    _, files = made
    assert set(files) == {"index.html", "map.png", "confusion_linear_probe.png", "confusion_knn.png"}
    for name in files.keys() - {"index.html"}:
        with Image.open(io.BytesIO(files[name])) as picture:
            assert picture.format == "PNG"
            assert picture.width >= 100


@pytest.mark.slow
def test_the_same_run_makes_the_same_bytes(made):
    run, files = made
    assert page(run) == files


def test_no_text_of_a_user_is_more_than_text(made):
    evil = run_of(names=[EVIL, "<!--<script>", "' onmouseover='alert(1)"])
    evil.results.update({"config_name": EVIL, "dataset": EVIL, "loss": EVIL})
    evil = evil._replace(config={"data.data_dir": EVIL, EVIL: EVIL}, command=f"python main.py {EVIL}")
    evil.results.update({"metrics": {EVIL: 1.0}, "best": {"step": 1, "metric": EVIL, "value": 2.0}})
    predictions = {
        EVIL: evil.evaluated.predictions["linear_probe"],
        f"right {EVIL}": evil.evaluated.test.labels,
    }
    evil = with_evaluated(evil, predictions=predictions)
    evil = evil._replace(records=[r | {EVIL: 1.0} for r in evil.records])
    evil = evil._replace(views=[Column(EVIL, EVIL, evil.views[0].images)], view_names=[EVIL] * 3)
    found, harmless = read(page(evil)), read(made[1])
    assert found.scripts == harmless.scripts
    assert {tag for tag, _ in found.tags} == {tag for tag, _ in harmless.tags}
    assert found.blocks["map-data"]["classes"][0] == EVIL
    assert EVIL in found.text


def test_the_map_shows_every_image_with_its_own_class_and_prediction(made):
    run, files = made
    found = read(files)
    data = found.blocks["map-data"]
    positions = np.array(data["positions"])
    assert sorted(positions) == list(range(30))
    np.testing.assert_array_equal(data["labels"], run.evaluated.test.labels[positions])
    assert list(data["predictions"]) == ["linear probe", "kNN"]
    for name, stored in (("linear probe", "linear_probe"), ("kNN", "knn")):
        np.testing.assert_array_equal(data["predictions"][name], run.evaluated.predictions[stored][positions])
    drawn = [a for a in found.all("use") if a["href"].startswith("#map-shape-") and "x" in a]
    assert [[int(a["x"]), int(a["y"])] for a in drawn] == data["maps"]["t-SNE"]
    wrong = [i for i, a in enumerate(drawn) if a.get("class") == "miss"]
    assert positions[wrong].tolist() == [0]


def test_the_sprites_of_the_map_are_its_images(made):
    run, files = made
    found = read(files)
    data = found.blocks["map-data"]
    (sheet,) = found.all("img", id="map-sprites")
    with Image.open(io.BytesIO(base64.b64decode(sheet["src"].split(",")[1]))) as opened:
        pixels = np.asarray(opened)
    columns, (width, height), pitch = (data["sprites"][k] for k in ("columns", "size", "pitch"))
    for place, position in enumerate(data["positions"]):
        left, top = place % columns * pitch[0], place // columns * pitch[1]
        np.testing.assert_array_equal(
            pixels[top : top + height, left : left + width],
            run.evaluated.test.images.images[position, :, :, 0],
        )


def test_of_many_images_a_part_is_drawn_and_no_other_is_read(monkeypatch):
    monkeypatch.setattr("tcl_jax.report.page_predictions._MOST_POINTS", 50)
    run = run_of(train=300, test=200)
    found = read(page(run))
    assert len(found.blocks["map-data"]["positions"]) == 50
    assert "50 of the 200 test images" in found.text
    assert run.evaluated.test.images.asked <= 50 + 10
    assert run.evaluated.train.images.asked <= 8 * 10


@pytest.mark.slow
def test_a_page_of_ten_thousand_colour_images_stays_small(monkeypatch):
    """Sprites and marks are what grows: of noise, which compresses worst, and with cheap maps in place of t-SNE's."""
    monkeypatch.setattr(
        "tcl_jax.report.page_predictions.projections", lambda x: {"PCA": x[:, :2] / 9, "t-SNE": x[:, 2:4] / 9}
    )
    files = page(run_of(classes=100, train=200, test=10_000, side=32, channels=3))
    assert len(files["index.html"]) < 5_000_000
    assert len(read(files).blocks["map-data"]["positions"]) == 2000


@pytest.mark.parametrize(
    "options",
    [
        dict(classes=1, train=2, test=1, records=0, cross_entropy=True),
        dict(classes=2, train=3, test=2, records=1, channels=5, diagnostics=True),
        dict(classes=25, train=30, test=4, channels=3, side=100, cross_entropy=True),
    ],
)
def test_any_run_has_a_page(options):
    files = page(run_of(**options))
    found = read(files)
    left_out = "Of the 5 channels the first 3 are shown."
    assert (left_out in found.text) == (options.get("channels") == 5)
    confusions = [name for name in files if name.startswith("confusion")]
    assert len(confusions) == 2 + ("cross_entropy" in options)
    assert ("trained classifier" in found.text) == ("cross_entropy" in options)
    assert ("diagnostics" in found.ids()) == ("diagnostics" in options)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_that_are_all_equal_have_a_page(value):
    run = run_of()
    same = with_evaluated(
        run,
        test=run.evaluated.test._replace(features=np.full((30, 6), value)),
        train=run.evaluated.train._replace(features=np.full((40, 6), value)),
    )
    assert list(read(page(same)).blocks["map-data"]["maps"]) == ["PCA"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("split", ["train", "test"])
def test_features_that_are_not_finite_have_a_page_without_map_and_neighbours(split, value):
    run = run_of()
    part = getattr(run.evaluated, split)
    features = part.features.copy()
    features[3, 1] = value
    run = with_evaluated(run, predictions={}, **{split: part._replace(features=features)})
    files = page(run)
    assert set(files) == {"index.html"}
    assert not {"map", "neighbours"} & set(read(files).ids())


def test_neighbours_are_the_nearest_and_marked_by_more_than_colour(made):
    run, files = made
    text = files["index.html"].decode().split('id="neighbours"')[1]
    rows = re.findall(r"<tr>\s*<th scope=\"row\">class (\d)</th>(.*?)</tr>", text, re.DOTALL)[:10]
    assert len(rows) == 10
    unit = [
        x / np.linalg.norm(x, axis=1, keepdims=True)
        for x in (run.evaluated.test.features, run.evaluated.train.features)
    ]
    order = np.argsort(-(unit[0] @ unit[1].T), axis=1)
    for label, row in rows:
        position, *notes = re.findall(r"<span title=\"([^\"]*)\"", row)
        assert run.evaluated.test.labels[int(position)] == int(label)
        nearest = run.evaluated.train.labels[order[int(position), :8]]
        expected = ["✓" if n == int(label) else f"✗ class {n}" for n in nearest]
        assert notes == expected


def test_confusions_are_counted_by_hand():
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 0, 2])
    assert count_confusions(labels, predicted, 4).tolist() == [
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [2, 0, 1, 0],
        [0, 0, 0, 0],
    ]


def test_the_most_confused_classes_are_named(made):
    run, files = made
    found = read(files)
    assert "Most confused classes: 1 of the 1 errors" in found.text  # by the linear probe
    wrong = int((run.evaluated.predictions["knn"] != run.evaluated.test.labels).sum())
    assert f"of the {wrong} errors" in found.text


def test_metrics_without_predictions_have_a_page():
    run = with_evaluated(run_of(), predictions={})
    run.results.update({"metrics": {EVIL: 1.0}, "best": {"step": 1, "metric": EVIL, "value": 2.0}})
    files = page(run)
    found = read(files)
    assert set(files) == {"index.html", "map.png"}
    assert not {"miss"} & {a.get("class") for a in found.all("use")}
    assert "confusion" not in found.ids()
    assert "neighbours" in found.ids()
    assert EVIL in found.text


def test_a_run_that_was_not_evaluated_has_a_page_that_says_so():
    run = run_of()._replace(evaluated=None)
    run.results.update({"metrics": {}, "evaluated_on": None})
    files = page(run)
    assert set(files) == {"index.html"}
    found = read(files)
    assert "40 training images. The encoder was not evaluated, as no test split was asked for." in found.text
    assert not {"map", "confusion", "neighbours"} & set(found.ids())


def test_other_data_that_a_run_was_evaluated_on_are_named():
    run = run_of()
    run.results["evaluated_on"] = "other data"
    text = read(page(run)).text
    assert "Evaluated on other data: 40 training images, 30 test images, 3 classes." in text


@pytest.mark.slow
def test_no_error_is_said_in_words(made):
    run, _ = made
    run = with_evaluated(run, predictions={"mine": run.evaluated.test.labels})
    text = read(page(run)).text
    assert "The mine classifies every test image correctly." in text
    assert "misclassified by the mine" in text


@pytest.mark.slow
def test_a_warning_stands_at_the_top():
    run = run_of()
    run.records[2]["warning"] = f"The projections have collapsed {EVIL}"
    found = Page(page(run)["index.html"].decode())
    assert found.text.index(f"The projections have collapsed {EVIL}") < found.text.index(
        "final training loss"
    )
    assert len(found.all("p", **{"class": "warning"})) == 1
    assert not Page(page(run_of())["index.html"].decode()).all("p", **{"class": "warning"})
