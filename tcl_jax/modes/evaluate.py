"""Evaluate the encoder of a run, and write its results."""

from typing import Any

import jax
import numpy as np

from tcl_jax.errors import UserError
from tcl_jax.evaluate import extract_features, knn_predict, linear_probe
from tcl_jax.modes.experiment import Experiment, build_experiment
from tcl_jax.modes.machine import devices, versions
from tcl_jax.modes.workdir import Workdir
from tcl_jax.report import format_table
from tcl_jax.report.metrics_log import read_metrics
from tcl_jax.train.checkpoint import Best, Checkpoints, Position
from tcl_jax.train.state import TrainState, params_sha256


def run(config: Any, workdir: Workdir, config_name: str, *, checkpoint: str = "latest") -> None:
    """Evaluate a checkpoint of the run in `workdir`: the "latest", or the "best" by kNN on the held-out images.

    Raises:
      UserError: there is no run, or it has no such checkpoint yet.
      RunFailed: its checkpoints cannot be read.
    """
    workdir.read_config()  # refuses a folder without a run before anything is made in it
    experiment = build_experiment(config)
    workdir.claim(config_name, config)
    with Checkpoints(workdir.checkpoints) as checkpoints:
        restore = checkpoints.restore_best if checkpoint == "best" else checkpoints.restore_latest
        restored = restore(jax.eval_shape(experiment.initial_state), experiment.mesh)
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
) -> None:
    """Evaluate the encoder of `state`, write its results and print them.

    Args:
      best: which checkpoint is the best, for the results.
      checkpoint: "latest" writes results.json, "best" results_best.json.
    """
    course, dataset = experiment.course, experiment.dataset
    records = [r for r in read_metrics(workdir.metrics) if "loss" in r and r["step"] <= int(state.step)]
    last_epoch = [r for r in records if r["epoch"] == records[-1]["epoch"]]
    last_losses = [r["loss"] * r["steps"] for r in last_epoch]
    views = int(state.step) * course.batch_size * course.num_views
    steady_seconds = position.train_seconds - position.compile_seconds - position.validation_seconds
    results = {
        "config_name": config_name,
        "dataset": dataset.name,
        "loss": experiment.loss_name,
        "checkpoint": checkpoint,
        "step": int(state.step),
        "best": best and best._asdict(),
        **evaluate(experiment, state),
        "final_train_loss": sum(last_losses) / sum(r["steps"] for r in last_epoch) if last_epoch else None,
        "params_sha256": params_sha256(state),
        "epochs": position.epoch,
        "train_seconds": position.train_seconds,
        "compile_seconds": position.compile_seconds,
        "validation_seconds": position.validation_seconds,
        "views_per_second": views / steady_seconds if steady_seconds > 0 else None,
        "devices": devices(),
        "versions": versions(),
    }
    workdir.write_results(results, checkpoint)
    print(format_table(results, str(workdir.path)))


def evaluate(experiment: Experiment, state: TrainState) -> dict[str, Any]:
    """Top-1 accuracy of the frozen encoder on every test image, by linear probe and by nearest neighbours.

    After training with cross-entropy also, as test_top1, that of the classifier which was trained with it.
    """
    dataset, model, mesh = experiment.dataset, experiment.model, experiment.mesh
    variables = state.variables
    train_features, test_features = (
        extract_features(
            experiment.encode, variables, split, batch_size=experiment.course.batch_size, mesh=mesh
        )
        for split in (dataset.train, dataset.test)
    )
    num_classes = len(dataset.class_names)
    predictions = {
        "linear_probe": linear_probe(
            model,
            variables,
            dataset.train,
            test_features,
            views=experiment.probe_views,
            num_classes=num_classes,
            seed=experiment.seed,
            mesh=mesh,
            **experiment.probe,
        ),
        "knn": knn_predict(test_features, train_features, dataset.train.labels, num_classes=num_classes),
    }
    accuracies: dict[str, Any] = {
        name: {"top1": float(np.mean(p == dataset.test.labels))} for name, p in predictions.items()
    }
    if experiment.loss_name == "cross_entropy":
        logits: Any = model.apply(variables, test_features, method="apply_head")
        accuracies["test_top1"] = float(np.mean(np.argmax(logits, axis=1) == dataset.test.labels))
    return accuracies
