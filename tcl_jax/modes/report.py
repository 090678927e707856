"""Make the page of a run again, from what it left; no probe is trained where its predictions are still there."""

from typing import Any

import jax
import numpy as np

from tcl_jax.errors import UserError
from tcl_jax.experiment.build import Experiment, build_experiment
from tcl_jax.experiment.run_page import write_report
from tcl_jax.modes.evaluate import Evaluation, evaluate_and_report, features
from tcl_jax.processes import on_first, together
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.predictions import unpack
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.state import params_sha256

__all__ = ["run", "write_report"]


def run(config: Any, workdir: Workdir, config_name: str) -> None:
    """Write the report of the latest checkpoint of the run in `workdir`; it is evaluated anew where it must be.

    Raises:
      UserError: there is no run, or it has no checkpoint yet.
      RunFailed: its checkpoints cannot be read, or the report cannot be written.
    """
    # As dictionaries: a ConfigDict that is locked never equals one that is not.
    same_probe = on_first(lambda: workdir.read_config()[1].probe.to_dict() == config.probe.to_dict())
    experiment = together(lambda: build_experiment(config))
    with workdir.locked(), workdir.failures_told():
        on_first(lambda: workdir.claim(config_name, config, facts=experiment.facts._asdict()))
        with Checkpoints(workdir.checkpoints) as checkpoints:
            restored = checkpoints.restore_latest(
                jax.eval_shape(experiment.training.initial_state), experiment.mesh
            )
            best = checkpoints.best()
        if restored is None:
            raise UserError(f"The run in {workdir.path} has no checkpoint yet: train it with --mode=train.")
        state, position = restored
        results = on_first(workdir.read_results)
        told = None
        if same_probe and results is not None and results.get("params_sha256") == params_sha256(state):
            told = on_first(lambda: _stored_predictions(experiment, workdir, results["params_sha256"]))
        if results is None or told is None:
            evaluate_and_report(experiment, state, position, best, workdir, config_name)
            return
        predictions = {name: np.asarray(found, np.int32) for name, found in told.items()}
        evaluation = Evaluation(*features(experiment, state), predictions, experiment.dataset.test.labels)
        write_report(experiment, evaluation, results, workdir, config_name)


def _stored_predictions(experiment: Experiment, workdir: Workdir, params: str) -> dict[str, list[int]] | None:
    """Those of predictions.npz, as JSON knows them, if they are of these parameters and images; else None."""
    if not workdir.predictions.exists():
        return None
    stored = workdir.predictions.read_bytes()
    told = unpack(stored, labels=experiment.dataset.test.labels, params_sha256=params)
    return None if told is None else {name: found.tolist() for name, found in told.items()}
