"""The page of a run: from its results, images and settings to index.html, and pictures for slides beside it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.fields import is_retrieval
from tcl_jax.report.contact_sheet import Column, picture_table
from tcl_jax.report.page_classes import accuracy_by_class
from tcl_jax.report.page_curves import Records, diagnostic_curves, training_curves, warnings
from tcl_jax.report.page_predictions import (
    Evaluated,
    confusions,
    map_section,
    neighbours,
    numbered_classes,
    retrieved,
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
      training_images: their number.
      evaluated: what the encoder was evaluated on; None where it was not.
      views: training images and their augmented views, side by side; none where it is empty.
      view_names: of its rows.
    """

    results: Mapping[str, Any]
    records: Records
    config: Mapping[str, Any]
    defaults: Mapping[str, Any]
    command: str
    training_images: int
    evaluated: Evaluated | None
    views: Sequence[Column]
    view_names: Sequence[str]


def page(run: RunPage) -> dict[str, bytes]:
    """The files of a report by their names: index.html, which needs no other, map.png and confusion_<metric>.png.

    The same run gives the same bytes.
    """
    results, evaluated = run.results, run.evaluated
    of_encoder, pictures = _of_encoder(evaluated, results["metrics"]) if evaluated else ({}, {})
    accuracies = evaluated.predictions if evaluated else ()
    sections: dict[str, Any] = {
        "curves": training_curves(run.records, results.get("probe_losses") or (), accuracies),
        **of_encoder,
        "views": run.views
        and picture_table(run.views, run.view_names, caption="Training images and views of them"),
        "diagnostics": diagnostic_curves(run.records),
        "settings": settings(run.config, run.defaults, results, run.command),
    }
    html = render(
        "run.html",
        results=results,
        training_images=run.training_images,
        warnings=warnings(run.records),
        evaluated=evaluated,
        sections={name: section for name, section in sections.items() if section or name == "curves"},
    )
    return {"index.html": html, **pictures}


def _of_encoder(
    evaluated: Evaluated, metrics: Mapping[str, float | None]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the encoder makes of the test images: sections of the page, and pictures beside it."""
    class_names, train, test, predictions = evaluated
    # A diverged encoder has no place for its images, and no neighbours.
    finite = bool(np.isfinite(test.features).all() and np.isfinite(train.features).all())
    the_map = map_section(test, predictions, class_names) if finite else None
    confused = confusions(test.labels, predictions, class_names)
    # Neighbours among images of other classes alone explain nothing.
    in_common = finite and bool(np.isin(test.labels, train.labels).any())
    retrieves = any(is_retrieval(name) and value is not None for name, value in metrics.items())
    sections = {
        "map": the_map,
        "confusion": confused and {"metrics": confused, "classes": numbered_classes(class_names)},
        "classes": accuracy_by_class(test.labels, predictions, class_names),
        "neighbours": neighbours(train, test, predictions, class_names) if in_common else None,
        "retrieval": retrieved(test, class_names) if finite and retrieves else None,
    }
    pictures = {f"confusion_{_in_file_name(one.metric)}.png": one.picture.png for one in confused}
    return sections, pictures if the_map is None else {"map.png": the_map.picture.png, **pictures}


def _in_file_name(metric: str) -> str:
    return re.sub(r"\W", "_", metric)
