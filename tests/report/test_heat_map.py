"""Which cell of a heat map shows which run."""

import io

import pytest
from PIL import Image

from tcl_jax.report.comparison import group_runs
from tcl_jax.report.heat_map import draw_heat_map, heat_maps
from tests.report.pages import compared as run


def accuracy(k1, rate):
    return (k1 * 10 + rate) / 1000


def grid_of(k1s, rates, **settings):
    return [
        run(
            f"{k1} {rate} {seed}",
            knn=accuracy(k1, rate) + seed / 100,
            seed=seed,
            **{"loss.k1": k1, "train.learning_rate": rate, **settings},
        )
        for k1 in k1s
        for rate in rates
        for seed in (0, 1)
    ]


def test_cells_are_means_over_seeds_at_their_settings_in_order_of_values():
    runs = grid_of([50.0, 1.0], [0.3, 0.1, 0.2])[:-2]  # the last combination is missing
    maps = {one.title: one for one in heat_maps(group_runs(runs))}
    assert set(maps) == {"linear probe", "kNN"}
    found = maps["kNN"]
    assert found.rows == ("loss.k1", [1.0, 50.0])
    assert found.columns == ("train.learning_rate", [0.1, 0.2, 0.3])
    for y, k1 in enumerate(found.rows[1]):
        for x, rate in enumerate(found.columns[1]):
            if (k1, rate) == (1.0, 0.2):
                assert found.cells[y][x] is None
            else:
                assert found.cells[y][x].mean == pytest.approx(accuracy(k1, rate) + 0.005)
                assert found.cells[y][x].runs == 2


def test_other_settings_have_a_map_for_each_of_their_values():
    runs = grid_of([1.0, 2.0], [0.1, 0.2]) + grid_of([1.0, 2.0], [0.1, 0.2], **{"loss.name": "supcon"})
    titles = [one.title for one in heat_maps(group_runs(runs))]
    assert titles == [
        f"{metric}, loss.name={loss}" for metric in ("linear probe", "kNN") for loss in ("tcl", "supcon")
    ]
    assert len({one.name for one in heat_maps(group_runs(runs))}) == 4


def test_one_setting_is_one_row_and_none_makes_no_map():
    (_, found) = heat_maps(group_runs([run("a"), run("b", **{"loss.k1": 5.0})]))
    assert (found.rows, found.columns) == (("", [None]), ("loss.k1", [5.0, 10.0]))
    assert heat_maps(group_runs([run("a"), run("b", **{"loss.name": "supcon"})])) == []


@pytest.mark.parametrize("values", [[0.5, 0.5], [0.2, 0.9]])
def test_a_map_is_drawn_with_its_numbers_for_equal_values_too(values):
    runs = [run(str(i), knn=v, **{"loss.k1": float(i)}) for i, v in enumerate(values)]
    drawn = draw_heat_map(heat_maps(group_runs(runs))[1])
    assert Image.open(io.BytesIO(drawn.png)).width > 300
    assert all(f"{value:.3f}" in drawn.svg for value in values)
