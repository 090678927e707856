"""Corrupted test images: by their formulas, and a table of what encoders make of them."""

import colorsys
import json

import numpy as np
import pytest
from absl import flags
from PIL import Image

from benchmarks import accuracy_page, accuracy_record, results, robustness
from benchmarks.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    brightness,
    contrast,
    gaussian_blur,
    gaussian_noise,
    pixelate,
)
from benchmarks.studies import STUDIES
from tcl_jax.fields import flat_items

pytestmark = pytest.mark.slow  # of tools and records

RNG = np.random.default_rng(0)
SHAPES = [(3, 28, 28, 1), (3, 32, 32, 3), (2, 9, 12, 3)]


def images_of(shape):
    images = RNG.integers(0, 256, shape, np.uint8)
    images[0, :3] = 0  # black, which has no hue
    return images


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_all_make_images_of_their_size_that_differ_more_from_severity_to_severity(name, shape):
    images = images_of(shape)
    before = images.copy()
    found = [CORRUPTIONS[name](images, severity, 0) for severity in SEVERITIES]
    assert all(one.shape == shape and one.dtype == np.uint8 for one in found)
    np.testing.assert_array_equal(images, before)
    distances = [np.abs(one.astype(int) - images).mean() for one in found]
    if min(shape[1:3]) >= 28:
        assert 0 < distances[0] < distances[-1]


def test_noise_has_its_deviation_and_seed():
    grey = np.full((50, 28, 28, 1), 128, np.uint8)
    for severity, deviation in zip(SEVERITIES, (0.04, 0.06, 0.08, 0.09, 0.10), strict=True):
        found = gaussian_noise(grey, severity, 3)
        assert found.std() / 255 == pytest.approx(deviation, rel=0.02)
        np.testing.assert_array_equal(found, gaussian_noise(grey, severity, 3))
        assert not np.array_equal(found, gaussian_noise(grey, severity, 4))


def test_blur_is_the_sum_of_weighted_neighbours():
    images = images_of((1, 12, 10, 3))
    for severity, sigma in zip(SEVERITIES, (0.4, 0.6, 0.7, 0.8, 1.0), strict=True):
        reach = int(4 * sigma + 0.5)
        line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        weights = np.outer(line, line) / line.sum() ** 2
        padded = np.pad(images[0] / 255, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape, (0, 1))
        expected = 255 * np.einsum("yxcij,ij->yxc", windows, weights)
        assert np.abs(gaussian_blur(images, severity, 0)[0] - np.floor(expected)).max() <= 1  # float32
        assert np.abs(gaussian_blur(images, severity, 0)[0] - expected).max() < 1.01


def test_contrast_and_brightness_are_their_formulas():
    images = images_of((2, 8, 8, 3))
    for severity in SEVERITIES:
        factor = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
        mean = images.mean(axis=(1, 2), keepdims=True)
        assert np.abs(contrast(images, severity, 0) - (mean + factor * (images - mean))).max() < 1.01
        more = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
        bright = brightness(images, severity, 0)
        for pixel, found in zip(images.reshape(-1, 3) / 255, bright.reshape(-1, 3), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            expected = colorsys.hsv_to_rgb(hue, saturation, min(value + more, 1))
            assert np.abs(found - 255 * np.array(expected)).max() < 1.01


def test_pixels_are_those_of_pil():
    (image,) = images_of((1, 32, 32, 3))
    for severity, side in zip(SEVERITIES, (30, 28, 27, 24, 20), strict=True):
        box = Image.Resampling.BOX
        expected = Image.fromarray(image).resize((side, side), box).resize((32, 32), box)
        np.testing.assert_array_equal(pixelate(image[None], severity, 0)[0], expected)


class Pixels:
    """In the place of an encoder: features are the pixels."""

    class description:
        params_sha256 = "abc"

    def __call__(self, images):
        return images.reshape(len(images), -1).astype(np.float32) + 1


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A record of the smallest study with one finished run, of TCL, whose features are pixels."""
    values = flags.FlagValues()
    texts = {
        name: flags.DEFINE_string(name, str(tmp_path / name), "", flag_values=values)
        for name in ("output", "runs", "data_dir")
    }
    study = flags.DEFINE_string("study", "smallest", "", flag_values=values)
    values(["robustness"])
    monkeypatch.setattr("benchmarks.results.OUTPUT", texts["output"])
    monkeypatch.setattr("benchmarks.accuracy.STUDY", study)
    for name in ("runs", "data_dir"):
        monkeypatch.setattr(f"benchmarks.folders.{name.upper()}", texts[name])
    here = {"device": "CPU", "processor": "one", "cores": 2, "versions": {}}
    monkeypatch.setattr("benchmarks.machine.describe_elsewhere", lambda: here)
    smallest = STUDIES["smallest"]
    first = smallest.runs()[0]
    run = {
        "name": first.point.name,
        "date": "2026-01-01",
        "machine": here,
        "config": json.loads(json.dumps(dict(flat_items(first.point.config)))),
        "params_sha256": "abc",
        "metrics": {"knn": 0.5},
        "train_seconds": 1.0,
        "devices": {"count": 1},
        "versions": {"jax": "1.2.3", "flax": "3.2.1"},
        "curve": [],
    }
    empty = accuracy_record.read_record(tmp_path / "none", "smallest", smallest)
    path = accuracy_record.record_path("smallest", tmp_path / "output", "cpu")
    path.parent.mkdir()
    results.write_files(
        accuracy_record.added(empty, smallest, first, run),
        accuracy_page.page,
        path.parent,
        path.stem,
        lambda _: {},
    )
    monkeypatch.setattr("benchmarks.robustness.load_encoder", lambda _: Pixels())
    return path


def test_a_study_gets_a_table_of_its_encoders_on_corrupted_images(measured, monkeypatch):
    path = measured
    robustness.main([])
    run = json.loads(path.read_text())["rows"][0]["runs"][0][accuracy_page.CORRUPTED]
    assert list(run) == ["clean", *CORRUPTIONS]
    assert {len(run[name]) for name in CORRUPTIONS} == {5}
    # Digits have 8 x 8 pixels, of which their own pixels are good features, and noise of a tenth changes little.
    assert run["clean"][0] > 0.95
    mean = np.mean([x for name in CORRUPTIONS for x in run[name]])
    row = [run["clean"][0], *(np.mean(run[name]) for name in CORRUPTIONS), mean]
    cells = " | ".join(f"{100 * value:.2f}" for value in row)
    page = path.with_suffix(".md").read_text()
    assert f"| TCL | 0 | {cells} |" in page
    assert "\n    python -m benchmarks.accuracy --study=smallest\n" in page
    monkeypatch.setattr("benchmarks.robustness.measure", lambda *_: pytest.fail("measured again"))
    robustness.main([])


def test_an_encoder_that_is_not_the_one_of_the_record_is_left_out(measured, capsys):
    path = measured
    record = json.loads(path.read_text())
    record["rows"][0]["runs"][0]["params_sha256"] = "def"
    path.write_text(json.dumps(record))
    robustness.main([])
    assert "TCL, seed=0 is left out: The encoder in" in capsys.readouterr().out
    assert accuracy_page.CORRUPTED not in json.loads(path.read_text())["rows"][0]["runs"][0]
