"""Evaluate the encoder of a run, and write its results and its page."""

from ml_collections import ConfigDict

from tcl_jax.experiment.build import build_experiment
from tcl_jax.experiment.opened import open_run
from tcl_jax.experiment.results import evaluate_run
from tcl_jax.processes import on_first, together
from tcl_jax.run.workdir import Workdir


def run(config: ConfigDict, workdir: Workdir, config_name: str, *, checkpoint: str = "latest") -> None:
    """Evaluate a checkpoint of the run in `workdir`: the "latest", or the "best" by the metric of held-out images.

    Raises:
      UserError: there is no run, or it has no such checkpoint yet.
      RunFailed: its checkpoints cannot be read.
    """
    on_first(workdir.require_run)  # before anything is made in the folder
    experiment = together(lambda: build_experiment(config))
    with (
        workdir.failures_told(),
        open_run(config_name, experiment, workdir, checkpoint=checkpoint) as opened,
    ):
        evaluate_run(opened, checkpoint=checkpoint)
