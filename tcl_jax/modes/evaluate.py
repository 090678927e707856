"""Evaluate the encoder of a run, and write its results and its report."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from tcl_jax.errors import UserError
from tcl_jax.evaluate import extract_features, knn_predict, linear_probe
from tcl_jax.experiment.build import Experiment, build_experiment
from tcl_jax.experiment.run_page import write_report
from tcl_jax.files import write_whole_bytes
from tcl_jax.processes import is_first, on_first, together
from tcl_jax.report.results import format_table
from tcl_jax.run.checkpoint import Best, Checkpoints, Position
from tcl_jax.run.environment import devices, versions
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.predictions import pack
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.state import TrainState, params_sha256


def run(config: Any, workdir: Workdir, config_name: str, *, checkpoint: str = "latest") -> None:
    """Evaluate a checkpoint of the run in `workdir`: the "latest", or the "best" by kNN on the held-out images.

    Raises:
      UserError: there is no run, or it has no such checkpoint yet.
      RunFailed: its checkpoints cannot be read.
    """
    on_first(
        lambda: bool(workdir.read_config())
    )  # refuses a folder without a run before anything is made in it
    experiment = together(lambda: build_experiment(config))
    with workdir.locked(), workdir.failures_told():
        _evaluate_and_report(experiment, workdir, config, config_name, checkpoint)


def _evaluate_and_report(
    experiment: Experiment, workdir: Workdir, config: Any, config_name: str, checkpoint: str
) -> None:
    on_first(lambda: workdir.claim(config_name, config, facts=experiment.facts._asdict()))
    with Checkpoints(workdir.checkpoints) as checkpoints:
        restore = checkpoints.restore_best if checkpoint == "best" else checkpoints.restore_latest
        restored = restore(jax.eval_shape(experiment.training.initial_state), experiment.mesh)
        best, latest_step = checkpoints.best(), checkpoints.latest_step()
    if latest_step is None:
        raise UserError(f"The run in {workdir.path} has no checkpoint yet: train it with --mode=train.")
    if restored is None:
        raise UserError(
            f"The run in {workdir.path} has no best checkpoint, as none was made at the end of an epoch with "
            "validation.images above 0: evaluate the latest with --checkpoint=latest."
        )
    evaluate_and_report(experiment, *restored, best, workdir, config_name, checkpoint=checkpoint)


def evaluate_and_report(
    experiment: Experiment,
    state: TrainState,
    position: Position,
    best: Best | None,
    workdir: Workdir,
    config_name: str,
    *,
    checkpoint: str = "latest",
    tell: bool = True,
) -> None:
    """Evaluate the encoder of `state` and write its results; then print them and write the page of the run.

    Args:
      best: which checkpoint is the best, for the results.
      checkpoint: "latest" writes results.json, predictions.npz and the page, "best" only results_best.json.
      tell: whether results are printed, and the page written.
    """
    course, dataset = experiment.training.course, experiment.dataset
    written = read_metrics(workdir.metrics) if is_first() else []
    records = [r for r in written if r["step"] <= int(state.step)]
    views = int(state.step) * course.batch_size * course.num_views
    steady_seconds = position.train_seconds - position.compile_seconds - position.validation_seconds
    evaluation = evaluate(experiment, state)
    results = {
        "config_name": config_name,
        "dataset": dataset.name,
        "loss": experiment.loss_name,
        "checkpoint": checkpoint,
        "step": int(state.step),
        "best": best and best._asdict(),
        **_accuracies(evaluation),
        "final_train_loss": final_train_loss(records),
        "skipped_steps": int(state.skipped),
        "params_sha256": params_sha256(state),
        "epochs": position.epoch,
        "train_seconds": position.train_seconds,
        "compile_seconds": position.compile_seconds,
        "validation_seconds": position.validation_seconds,
        "views_per_second": views / steady_seconds if steady_seconds > 0 else None,
        "devices": devices(),
        "versions": versions(),
    }
    on_first(lambda: workdir.write_results(results, checkpoint))
    if checkpoint == "latest":
        on_first(lambda: _write_predictions(evaluation, results, workdir))
    if not tell:
        return
    print(format_table(results, str(workdir.path)), flush=True)
    if checkpoint == "latest":
        write_report(experiment, evaluation, results, workdir, config_name)


def _write_predictions(evaluation: "Evaluation", results: dict[str, Any], workdir: Workdir) -> None:
    stored = pack(evaluation.predictions, evaluation.labels, params_sha256=results["params_sha256"])
    write_whole_bytes(workdir.predictions, stored)


def final_train_loss(records: list[dict[str, Any]]) -> float | None:
    """Mean loss of the steps of the last epoch on record that were not skipped; None where there are none.

    >>> final_train_loss([{"epoch": 1, "loss": 2.0, "steps": 3, "skipped": 2}, {"epoch": 1, "loss": 5.0, "steps": 2}])
    4.0
    """
    curve = [r for r in records if "loss" in r]
    last_epoch = [r for r in curve if r["epoch"] == curve[-1]["epoch"] and r["loss"] is not None]
    steps = [r["steps"] - r.get("skipped", 0) for r in last_epoch]
    return sum(r["loss"] * n for r, n in zip(last_epoch, steps, strict=True)) / sum(steps) if steps else None


class Evaluation(NamedTuple):
    """What the frozen encoder makes of the images as they are, and the classes told from it.

    Attributes:
      train_features, test_features: float [n, f], of all images of each split, in order.
      predictions: int32 [m], classes of the test images by "linear_probe" and by "knn"; after training with
        cross-entropy also by the "classifier" that was trained.
      labels: int32 [m], the true ones.
      probe_losses: mean training loss of the linear probe in each epoch; none where it was not trained anew.
    """

    train_features: np.ndarray
    test_features: np.ndarray
    predictions: dict[str, np.ndarray]
    labels: np.ndarray
    probe_losses: Sequence[float] = ()

    def top1(self) -> dict[str, float]:
        """Share of the test images whose class is told right, by the names of the predictions."""
        return {name: float(np.mean(found == self.labels)) for name, found in self.predictions.items()}


def evaluate(experiment: Experiment, state: TrainState) -> Evaluation:
    """Judge the frozen encoder by every test image: by linear probe and by nearest neighbours."""
    dataset, model, mesh = experiment.dataset, experiment.training.model, experiment.mesh
    variables = state.evaluated
    train_features, test_features = features(experiment, state)
    num_classes = len(dataset.class_names)
    by_probe, probe_losses = linear_probe(
        model,
        variables,
        dataset.train,
        test_features,
        views=experiment.training.probe_views,
        num_classes=num_classes,
        seed=experiment.seed,
        mesh=mesh,
        **experiment.probe,
    )
    by_knn = knn_predict(test_features, train_features, dataset.train.labels, num_classes=num_classes)
    predictions = {"linear_probe": by_probe, "knn": by_knn}
    if experiment.loss_name == "cross_entropy":
        logits: Any = model.apply(variables, test_features, method="apply_head")
        predictions["classifier"] = np.asarray(np.argmax(logits, axis=1), np.int32)
    return Evaluation(train_features, test_features, predictions, dataset.test.labels, probe_losses)


def features(experiment: Experiment, state: TrainState) -> tuple[np.ndarray, np.ndarray]:
    """Encoder features of all training and of all test images: float [n, f] and [m, f]."""
    train_features, test_features = (
        extract_features(
            experiment.encode,
            state.evaluated,
            split,
            batch_size=experiment.training.course.images_at_once,
            mesh=experiment.mesh,
        )
        for split in (experiment.dataset.train, experiment.dataset.test)
    )
    return train_features, test_features


def _accuracies(evaluation: Evaluation) -> dict[str, Any]:
    """As results.json has them, with the curve of the probe; test_top1 is of the classifier of cross-entropy."""
    top1 = evaluation.top1()
    classifier = {"test_top1": top1.pop("classifier")} if "classifier" in top1 else {}
    found: dict[str, Any] = {name: {"top1": value} for name, value in top1.items()}
    found["linear_probe"]["losses"] = list(evaluation.probe_losses)
    return found | classifier
