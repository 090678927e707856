"""The map of images by their features: where the names of classes stand, and the plot of it."""

import io

import numpy as np
import pytest
from PIL import Image

from tcl_jax.report.embedding_map import HIGHEST, map_picture, name_places
from tests.report.pages import EVIL


def some_map(names=("x", "y")):
    places = np.array([[0, 0], [1, 1], [0.5, -1]])
    return map_picture({"PCA": places, "t-SNE": places}, np.array([0, 1, 1]), names).png


def test_the_same_map_has_the_same_bytes():
    assert some_map() == some_map()


@pytest.mark.parametrize("name", [EVIL, "$x_1$ \\frac", "猫\x00\n"])
def test_maps_take_any_names(name):
    with Image.open(io.BytesIO(some_map([name, "b"]))) as png:
        assert png.width == 1200


def test_a_name_stands_above_its_points():
    points = np.array([[-0.5, 0.0], [-0.5, 0.1], [0.5, -0.5], [0.5, -0.4]])
    places = name_places(points, np.array([2, 2, 0, 0]), ["a", "b", "c"])
    assert places.keys() == {0, 2}
    for label, x, top in ((2, -0.5, 0.1), (0, 0.5, -0.4)):
        assert places[label][0] == x
        assert top < places[label][1] < top + 0.1


def test_names_of_classes_that_lie_together_do_not_hide_each_other():
    random = np.random.RandomState(0)
    labels = np.arange(100) % 10
    places = name_places(0.02 * random.randn(100, 2), labels, ["name"] * 10)
    heights = np.sort([y for _, y in places.values()])
    assert np.diff(heights).min() > 0.06


def test_names_stay_inside():
    points = np.array([[-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    for x, y in name_places(points, np.arange(3), ["a long name of a class"] * 3).values():
        assert abs(x) < 0.7
        assert -1 <= y <= HIGHEST
