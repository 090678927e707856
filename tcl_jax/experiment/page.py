"""The page of a run, made and written, and the augmented views on it."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from tcl_jax.data import epoch_order
from tcl_jax.evaluate import Evaluation
from tcl_jax.experiment.build import Experiment
from tcl_jax.experiment.opened import Run
from tcl_jax.fields import flat_items
from tcl_jax.files import write_whole_bytes, writing
from tcl_jax.processes import on_first
from tcl_jax.report.contact_sheet import Column
from tcl_jax.report.page_settings import command
from tcl_jax.report.samples import first_of_classes
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import ConfigFile
from tcl_jax.train.state import VIEWS_STREAM, stream_key

_ROWS = 8  # images whose views are shown
_EPOCHS = 3


def write_page(run: Run, evaluation: Evaluation | None, results: dict[str, Any]) -> None:
    """Write report/index.html and the pictures beside it, by the first process, and say where they are.

    Args:
      evaluation, results: of the latest checkpoint.

    Raises:
      WriteFailed: a file cannot be written; those before it are.
    """
    on_first(lambda: _write(run, evaluation, results))


def command_of(config: ConfigDict, config_file: ConfigFile, workdir: str) -> str:
    """What to type to make a run again."""
    return command(
        config_file.program,
        config_file.name or "CONFIG.py",
        _fields(config_file.fields),
        _fields(config),
        workdir,
    )


def shown_views(experiment: Experiment, *, images: int, epochs: int) -> tuple[list[Column], list[str]]:
    """Training images as they are and their views in the first epochs, side by side; and the names of their classes.

    The views are the very ones that training hands to the network.

    Args:
      images: their number, or all where there are fewer: the first of each class in the order of the first epoch, then
        the second of each.
      epochs: views of each image by each policy.
    """
    dataset, settings = experiment.dataset, experiment.settings
    train = settings.split.train
    order = train[epoch_order(len(train), seed=settings.seed, epoch=0)]
    indices = first_of_classes(dataset.train.labels, order, images)
    pictures = dataset.train.images[indices]
    stream = stream_key(np.uint32(settings.seed), VIEWS_STREAM)
    draw = jax.jit(experiment.program.views)
    drawn = [
        _as_pictures(draw(jax.random.fold_in(stream, epoch), pictures, indices), experiment)
        for epoch in range(epochs)
    ]
    columns = [Column("original", "", pictures)]
    for view, policy in enumerate(experiment.config.augment.views):
        for epoch, views in enumerate(drawn):
            of_view = views[view * len(indices) :][: len(indices)]
            columns.append(Column(f"view {view + 1}: {policy}", f"epoch {epoch + 1}", of_view))
    labels = dataset.train.labels[indices]
    return columns, ["" if label < 0 else dataset.class_names[label] for label in labels]


def _write(run: Run, evaluation: Evaluation | None, results: dict[str, Any]) -> None:
    # Imported here: matplotlib and scikit-learn take a second or two, which nobody else needs to wait for.
    from tcl_jax.report.page import RunPage, page
    from tcl_jax.report.page_predictions import Evaluated, Examples

    evaluator, workdir = run.experiment.evaluator, run.workdir
    _, config = workdir.read_config()
    config_file = workdir.read_config_file()
    views, view_names = shown_views(run.experiment, images=_ROWS, epochs=_EPOCHS)
    files = page(
        RunPage(
            results=results,
            records=[r for r in read_metrics(workdir.metrics) if r["step"] <= results["step"]],
            config=_fields(config),
            defaults=_fields(config_file.defaults),
            command=command_of(config, config_file, str(workdir.path)),
            training_images=run.experiment.facts.num_images,
            evaluated=evaluator
            and evaluation
            and Evaluated(
                class_names=evaluator.class_names,
                train=Examples(*evaluator.train, evaluation.train_features),
                test=Examples(*evaluator.test, evaluation.test_features),
                predictions=evaluation.predictions,
            ),
            views=views,
            view_names=view_names,
        )
    )
    with writing(str(workdir.report)):
        workdir.report.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_whole_bytes(workdir.report / name, data)
    print(f"The report is in {workdir.report / 'index.html'}")


def _fields(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """All fields by their full names; lists, which JSON makes of tuples, are tuples again."""
    return {name: tuple(x) if isinstance(x, list) else x for name, x in flat_items(config)}


def _as_pictures(views: jax.Array, experiment: Experiment) -> np.ndarray:
    """Undo the normalisation: float [n, h, w, c] to uint8."""
    scaled = (np.asarray(views, np.float64) * experiment.facts.std + experiment.facts.mean) * 255
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
