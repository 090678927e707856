"""The results of a run: its encoder is evaluated, and what came out is written and shown."""

from typing import Any

import numpy as np

from tcl_jax.evaluate import Evaluation, evaluate
from tcl_jax.evaluate.evaluation import features
from tcl_jax.experiment.data import INIT_FROM
from tcl_jax.experiment.opened import Run
from tcl_jax.experiment.page import write_page
from tcl_jax.files import write_whole_bytes
from tcl_jax.models import params_sha256
from tcl_jax.processes import is_first, on_first
from tcl_jax.report.results import print_results
from tcl_jax.run.environment import devices, versions
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.predictions import pack, unpack


def evaluate_run(run: Run, *, checkpoint: str = "latest", show: bool = True) -> None:
    """Evaluate the encoder of a run and write its results; then print them and write the page of the run.

    Without data to evaluate on, the results have no metrics.

    Args:
      checkpoint: "latest" writes results.json, predictions.npz and the page, "best" only results_best.json.
      show: whether results are printed, and the page written.

    Raises:
      UserError: the run has no checkpoint yet.
      WriteFailed: a file cannot be written.
    """
    state, evaluator = run.evaluable(), run.experiment.evaluator
    evaluation = None if evaluator is None else evaluate(evaluator, state.evaluated)
    results = _results(run, evaluation, checkpoint)
    on_first(lambda: run.workdir.write_results(results, checkpoint))
    if evaluation is not None and checkpoint == "latest":
        stored = pack(evaluation.predictions, evaluation.labels, params_sha256=results["params_sha256"])
        on_first(lambda: write_whole_bytes(run.workdir.predictions, stored))
    if show:
        print_results(results, str(run.workdir.path))
        if checkpoint == "latest":
            write_page(run, evaluation, results)


def write_page_again(run: Run) -> None:
    """Write the page of a run from its results; it is evaluated anew where they are not those of its state.

    Raises:
      UserError: the run has no checkpoint yet.
      WriteFailed: a file cannot be written.
    """
    state, evaluator = run.evaluable(), run.experiment.evaluator
    results = on_first(run.workdir.read_results)
    params = params_sha256(state.variables)
    if evaluator is None:
        evaluate_run(run)
        return
    labels = evaluator.test.labels
    stored = on_first(lambda: _stored_predictions(run, labels, params))
    if results is None or results["params_sha256"] != params or stored is None:
        evaluate_run(run)
        return
    evaluation = Evaluation(
        *features(evaluator, state.evaluated),
        labels=labels,
        metrics=results["metrics"],
        predictions={name: np.asarray(predicted, np.int32) for name, predicted in stored.items()},
    )
    write_page(run, evaluation, results)


def final_train_loss(records: list[dict[str, Any]]) -> float | None:
    """Mean loss of the steps of the last epoch on record that were not skipped; None where there are none.

    >>> final_train_loss([{"epoch": 1, "loss": 2.0, "steps": 3, "skipped": 2}, {"epoch": 1, "loss": 5.0, "steps": 2}])
    4.0
    """
    curve = [r for r in records if "loss" in r]
    last_epoch = [r for r in curve if r["epoch"] == curve[-1]["epoch"] and r["loss"] is not None]
    steps = [r["steps"] - r.get("skipped", 0) for r in last_epoch]
    return sum(r["loss"] * n for r, n in zip(last_epoch, steps, strict=True)) / sum(steps) if steps else None


def _results(run: Run, evaluation: Evaluation | None, checkpoint: str) -> dict[str, Any]:
    """What results.json holds."""
    state, position, experiment = run.evaluable(), run.position, run.experiment
    written = read_metrics(run.workdir.metrics) if is_first() else []
    steady_seconds = position.train_seconds - position.compile_seconds - position.validation_seconds
    views = run.step * experiment.program.schedule.views_per_step
    best = run.checkpoints.best()
    metric, _ = experiment.program.parts.validation_metric
    evaluated = experiment.data.evaluated
    of_encoder = results_of(
        evaluation,
        config_name=run.name,
        dataset=experiment.dataset.name,
        evaluated_on=None if evaluated is None else evaluated.name,
        loss=experiment.config.loss.name,
        checkpoint=checkpoint,
        step=run.step,
        params_sha256=params_sha256(state.variables),
    )
    return of_encoder | {
        "best": best and {"step": best.step, "metric": metric, "value": best.value},
        "final_train_loss": final_train_loss([r for r in written if r["step"] <= run.step]),
        "init_from": experiment.beginning.get(INIT_FROM),
        "skipped_steps": int(state.skipped),
        "epochs": position.epoch,
        "train_seconds": position.train_seconds,
        "compile_seconds": position.compile_seconds,
        "validation_seconds": position.validation_seconds,
        "views_per_second": views / steady_seconds if steady_seconds > 0 else None,
    }


def results_of(evaluation: Evaluation | None, **about: Any) -> dict[str, Any]:
    """What any results file holds.

    Args:
      evaluation: None where there was none.
      about: which encoder was evaluated on what: config_name, dataset, evaluated_on, loss, checkpoint, step,
        params_sha256.
    """
    return about | {
        "metrics": {} if evaluation is None else evaluation.metrics,
        **({} if evaluation is None else evaluation.details),
        "probe_losses": [] if evaluation is None else list(evaluation.probe_losses),
        "devices": devices(),
        "versions": versions(),
    }


def _stored_predictions(run: Run, labels: np.ndarray, params: str) -> dict[str, list[int]] | None:
    """Those of predictions.npz, as JSON has them, if they are of these parameters and images; else None."""
    if not run.workdir.predictions.exists():
        return None
    stored = unpack(run.workdir.predictions.read_bytes(), labels=labels, params_sha256=params)
    return None if stored is None else {name: predicted.tolist() for name, predicted in stored.items()}
