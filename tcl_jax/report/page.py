"""The page of a run: from its figures, images and settings to index.html and the pictures beside it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.report.contact_sheet import Column, contact_sheet
from tcl_jax.report.embedding_map import MAP_SCRIPT, MAP_STYLE
from tcl_jax.report.html import Html, Section, document, join, paragraph, tiles
from tcl_jax.report.page_curves import Part, Records, diagnostic_curves, training_curves
from tcl_jax.report.page_predictions import Examples, confusions, map_of, neighbours
from tcl_jax.report.page_settings import settings
from tcl_jax.report.picture_table import PICTURES_STYLE, picture_table
from tcl_jax.report.thumbnails import encoded


class Run(NamedTuple):
    """What the page of a run is made of.

    Attributes:
      results: of results.json.
      records: of metrics.jsonl.
      config, defaults: values by full names of fields.
      command: that makes the run again.
      class_names: of all classes.
      train, test: the two splits.
      predictions: integer [m], classes of the test images, by the names in results.json.
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
    predictions: Mapping[str, np.ndarray]
    views: Sequence[Column]
    view_names: Sequence[str]


def page(run: Run) -> dict[str, bytes]:
    """The files of a report by their names: index.html, which needs no other, and a PNG of each picture.

    The same run gives the same bytes.
    """
    results = run.results
    parts = [
        training_curves(run.records, results["linear_probe"].get("losses", ())),
        map_of(run.test, run.predictions, run.class_names),
        confusions(run.test.labels, run.predictions, run.class_names),
        neighbours(run.train, run.test, run.predictions, run.class_names),
        _views(run),
        diagnostic_curves(run.records),
        settings(run.config, run.defaults, results, run.command),
    ]
    shown = [part for part in parts if part is not None]
    lead = join(
        paragraph(
            f"{results['loss']} on {results['dataset']}: {len(run.train.labels):,} training images, "
            f"{len(run.test.labels):,} test images, {len(run.class_names):,} classes."
        ),
        _headline(run),
    )
    text = document(
        results["config_name"],
        [part.section for part in shown],
        lead=lead,
        footer=f"Made by tcl_jax {results['versions'].get('tcl_jax', '')} from the {results['checkpoint']} checkpoint, "
        f"step {results['step']:,}.",
        styles=[PICTURES_STYLE, MAP_STYLE],
        scripts=[MAP_SCRIPT],
    )
    files = {name: data for part in shown for name, data in part.files.items()}
    return {"index.html": text.encode(), **files}


def _headline(run: Run) -> Html:
    results, predictions = run.results, run.predictions
    count = len(run.test.labels)

    def told(name: str) -> str:
        return f"{int(np.sum(predictions[name] == run.test.labels)):,} of {count:,} test images right"

    best, rate, loss = results["best"], results["views_per_second"], results["final_train_loss"]
    devices = results["devices"]
    figures: list[tuple[object, object, object]] = [
        ("linear probe, top-1", f"{results['linear_probe']['top1']:.4f}", told("linear_probe")),
        ("kNN, top-1", f"{results['knn']['top1']:.4f}", told("knn")),
    ]
    if "test_top1" in results:
        figures.append(("trained classifier, top-1", f"{results['test_top1']:.4f}", told("classifier")))
    figures += [
        ("final training loss", None if loss is None else f"{loss:.4f}", f"epoch {results['epochs']:,}"),
        (
            "training",
            duration(results["train_seconds"]),
            f"{duration(results['compile_seconds'])} of it compiling",
        ),
        ("rate", None if rate is None else f"{rate:,.0f}", "views per second"),
        ("devices", f"{devices['count']} x {devices['kind']}", ""),
        (
            "best checkpoint",
            best and f"step {best['step']:,}",
            f"kNN {best['validation_knn']:.4f} of held-out images" if best else "no images were held out",
        ),
    ]
    if results["skipped_steps"]:
        figures.append(("steps skipped", f"{results['skipped_steps']:,}", "not finite"))
    return tiles(figures)


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(59.94), duration(61), duration(7260)
    ('59.9 s', '1 min 1 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _views(run: Run) -> Part | None:
    if not run.views:
        return None
    caption = "Training images and views of them"
    lead = paragraph(
        "What training hands to the network, by each policy of augment.views, as drawn in the first epochs."
    )
    table = picture_table(run.views, run.view_names, caption=caption)
    sheet = encoded(contact_sheet(caption, run.views, run.view_names), "png")
    return Part(Section("views", "Augmented views", join(lead, table)), {"views.png": sheet})
