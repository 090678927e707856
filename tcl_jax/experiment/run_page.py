"""The page of a run, made and written: what modes that evaluate have in common with --mode=report."""

import importlib
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from tcl_jax.errors import UserError
from tcl_jax.experiment.build import Experiment
from tcl_jax.experiment.shown_views import shown_views
from tcl_jax.fields import flat_items
from tcl_jax.files import write_whole_bytes, writing
from tcl_jax.processes import on_first
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir

if TYPE_CHECKING:
    from tcl_jax.modes.evaluate import Evaluation

_ROWS = 8  # images whose views are shown
_EPOCHS = 3


def write_report(
    experiment: Experiment,
    evaluation: "Evaluation",
    results: dict[str, Any],
    workdir: Workdir,
    config_name: str,
) -> None:
    """Write report/index.html and the pictures beside it, by the first process, and say where they are.

    Args:
      evaluation, results: of the latest checkpoint.

    Raises:
      WriteFailed: a file cannot be written; those before it are.
    """
    on_first(lambda: _write(experiment, evaluation, results, workdir, config_name))


def _write(
    experiment: Experiment,
    evaluation: "Evaluation",
    results: dict[str, Any],
    workdir: Workdir,
    config_name: str,
) -> None:
    # Imported here: matplotlib and scikit-learn take a second or two, which nobody else needs to wait for.
    from tcl_jax.report.page import RunPage, page
    from tcl_jax.report.page_predictions import Examples
    from tcl_jax.report.page_settings import command

    dataset = experiment.dataset
    _, stored = workdir.read_config()
    config, defaults = fields_of(stored), _fields_given("common")
    views, view_names = shown_views(experiment, images=_ROWS, epochs=_EPOCHS)
    files = page(
        RunPage(
            results=results,
            records=[r for r in read_metrics(workdir.metrics) if r["step"] <= results["step"]],
            config=config,
            defaults=defaults,
            command=command(*config_file(config_name), config, str(workdir.path)),
            class_names=dataset.class_names,
            train=Examples(dataset.train.images, dataset.train.labels, evaluation.train_features),
            test=Examples(dataset.test.images, evaluation.labels, evaluation.test_features),
            predictions=evaluation.predictions,
            views=views,
            view_names=view_names,
        )
    )
    with writing(str(workdir.report)):
        workdir.report.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_whole_bytes(workdir.report / name, data)
    print(f"The report is in {workdir.report / 'index.html'}")


def fields_of(config: ConfigDict) -> dict[str, Any]:
    """All fields by their full names; lists, which JSON makes of tuples, are tuples again."""
    return {name: tuple(x) if isinstance(x, list) else x for name, x in flat_items(config)}


def config_file(config_name: str) -> tuple[str, dict[str, Any]]:
    """What --config named to start a run of this name, and the fields that it gives.

    A config from another folder is not found again: configs/common.py stands for it, which gives the defaults.

    >>> config_file("smoke_cifar10_tcl")[0]
    'configs/smoke.py:cifar10_tcl'
    """
    words = config_name.split("_")
    for count in range(len(words), 0, -1):
        stem, argument = "_".join(words[:count]), "_".join(words[count:])
        fields = _fields_given(stem, argument) if stem.isidentifier() else {}
        if fields:
            return f"configs/{stem}.py" + (f":{argument}" if argument else ""), fields
    return "configs/common.py", _fields_given("common")


def _fields_given(stem: str, argument: str = "") -> dict[str, Any]:
    """The fields of configs/<stem>.py; none where there is no such file, or it does not take the argument."""
    try:
        get_config = importlib.import_module(f"configs.{stem}").get_config
        return fields_of(get_config(argument) if argument else get_config())
    except (ImportError, AttributeError, TypeError, UserError):
        return {}
