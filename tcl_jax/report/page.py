"""The page of a run: from its results, images and settings to index.html, and pictures for slides beside it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.report.contact_sheet import Column, picture_table
from tcl_jax.report.page_curves import Records, diagnostic_curves, training_curves
from tcl_jax.report.page_predictions import (
    Examples,
    Predictions,
    confusions,
    map_section,
    neighbours,
    numbered_classes,
)
from tcl_jax.report.page_settings import settings
from tcl_jax.report.render import render


class RunPage(NamedTuple):
    """What the page of a run is made of.

    Attributes:
      results: of results.json.
      records: of metrics.jsonl.
      config, defaults: values by full names of fields.
      command: that makes the run again.
      class_names: of all classes.
      train, test: the two splits.
      predictions: integer [m], classes of the test images, by the metrics of results.json that have some.
      views: training images and their augmented views, side by side; none where it is empty.
      view_names: of its rows.
    """

    results: Mapping[str, Any]
    records: Records
    config: Mapping[str, Any]
    defaults: Mapping[str, Any]
    command: str
    class_names: Sequence[str]
    train: Examples
    test: Examples
    predictions: Predictions
    views: Sequence[Column]
    view_names: Sequence[str]


def page(run: RunPage) -> dict[str, bytes]:
    """The files of a report by their names: index.html, which needs no other, map.png and confusion_<metric>.png.

    The same run gives the same bytes.
    """
    results, test, predictions = run.results, run.test, run.predictions
    the_map = map_section(test, predictions, run.class_names)
    confused = confusions(test.labels, predictions, run.class_names)
    sections: dict[str, Any] = {
        "curves": training_curves(run.records, results.get("probe_losses") or (), predictions),
        "map": the_map,
        "confusion": confused and {"metrics": confused, "classes": numbered_classes(run.class_names)},
        "neighbours": neighbours(run.train, test, predictions, run.class_names),
        "views": run.views
        and picture_table(run.views, run.view_names, caption="Training images and views of them"),
        "diagnostics": diagnostic_curves(run.records),
        "settings": settings(run.config, run.defaults, results, run.command),
    }
    html = render(
        "run.html",
        results=results,
        sizes=(len(run.train.labels), len(test.labels), len(run.class_names)),
        correct={name: int(np.sum(found == test.labels)) for name, found in predictions.items()},
        sections={name: section for name, section in sections.items() if section or name == "curves"},
    )
    pictures = {f"confusion_{_in_file_name(one.metric)}.png": one.picture.png for one in confused}
    return {"index.html": html, "map.png": the_map.picture.png, **pictures}


def _in_file_name(metric: str) -> str:
    return re.sub(r"\W", "_", metric)
