"""A metric over a grid of settings, as a picture with a cell for each."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tcl_jax.fields import brief, metric_title
from tcl_jax.report.comparison import Group, Spread, metric_names, metric_spread
from tcl_jax.report.plots import PALETTE, WIDTH, Picture, cut
from tcl_jax.report.results import number

_NOT_THERE = "\N{EN DASH}"


class HeatMap(NamedTuple):
    """One metric over two settings.

    Attributes:
      name: of the picture, of letters, digits and "-".
      title: what it shows, with the settings that all of its cells share.
      rows, columns: (field, values) of each direction; no field where there is one direction.
      cells: [rows][columns], None without a run.
    """

    name: str
    title: str
    rows: tuple[str, list[Any]]
    columns: tuple[str, list[Any]]
    cells: list[list[Spread | None]]


def heat_maps(groups: Sequence[Group]) -> list[HeatMap]:
    """A map of each metric over the last two numeric settings in which the groups differ, for all values of others.

    With one such setting the map has one row; without any there is none.
    """
    differing = list(groups[0].settings) if groups else []
    numeric = [f for f in differing if all(_is_number(group.settings[f]) for group in groups)]
    if not numeric:
        return []
    across, down = numeric[-1], numeric[-2] if len(numeric) > 1 else None
    others = [field for field in differing if field not in (across, down)]
    values = {field: _values(groups, field) for field in differing}
    by_settings = {tuple(group.settings.values()): group for group in groups}
    maps: list[HeatMap] = []
    for metric, shared in itertools.product(
        metric_names(groups), itertools.product(*(values[field] for field in others))
    ):
        settings = dict(zip(others, shared, strict=True))
        title = ", ".join(
            [metric_title(metric), *(f"{field}={brief(value)}" for field, value in settings.items())]
        )

        def cell(y: Any, x: Any, settings: dict[str, Any] = settings, metric: str = metric) -> Spread | None:
            at = settings | {across: x} | ({} if down is None else {down: y})
            group = by_settings.get(tuple(at[field] for field in differing))
            return group and metric_spread(group, metric)

        ys = [None] if down is None else values[down]
        cells = [[cell(y, x) for x in values[across]] for y in ys]
        if any(value is not None for row in cells for value in row):
            name = f"heat-map-{len(maps) + 1}"
            maps.append(HeatMap(name, title, (down or "", ys), (across, values[across]), cells))
    return maps


def draw_heat_map(heat_map: HeatMap) -> Picture:
    """The picture: each cell its mean, and below it the standard deviation over seeds where there are several."""
    (down, ys), (across, xs) = heat_map.rows, heat_map.columns
    means = np.array([[np.nan if c is None else c.mean for c in row] for row in heat_map.cells], float)
    low, high = np.nanmin(means), np.nanmax(means)
    share = np.nan_to_num((means - low) / (high - low) if high > low else np.zeros_like(means))
    color = [int(PALETTE[0][place : place + 2], 16) / 255 for place in (1, 3, 5)]
    # By strength alone, so that on light paper and on dark the highest cell has most colour.
    alpha = np.where(np.isnan(means), 0.0, 0.08 + 0.6 * share)
    cells = np.dstack([*(np.full(means.shape, c) for c in color), alpha])

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.imshow(cells, interpolation="none", aspect="auto")
        axes.set_xticks(range(len(xs)), [brief(x) for x in xs])
        axes.set_xlabel(cut(across))
        axes.set_yticks(range(len(ys)), [brief(y) for y in ys] if down else [""] * len(ys))
        axes.set_ylabel(cut(down))
        axes.tick_params(length=0)
        for (row, column), mean in np.ndenumerate(means):
            spread = heat_map.cells[row][column]
            text = _NOT_THERE if spread is None else number(mean, decimals=3)
            if spread is not None and spread.std is not None:
                text += f"\n± {number(spread.std, decimals=3)}"
            weight = "bold" if mean == high else "normal"
            axes.text(column, row, text, ha="center", va="center", weight=weight)

    height = 1.0 + 0.55 * len(ys)
    return Picture(draw, heat_map.name, f"Heat map of {heat_map.title}", WIDTH, height)


def _values(groups: Sequence[Group], field: str) -> list[Any]:
    values = list(dict.fromkeys(group.settings[field] for group in groups))
    return sorted(values) if all(map(_is_number, values)) else values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
