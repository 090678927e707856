"""Make the page of a run again, from what it left; no probe is trained where its predictions are still there."""

from ml_collections import ConfigDict

from tcl_jax.experiment.build import build_experiment
from tcl_jax.experiment.opened import open_run
from tcl_jax.experiment.results import evaluate_run, write_page_again
from tcl_jax.processes import on_first, together
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.interruption import evaluating


def run(config: ConfigDict, workdir: Workdir, config_name: str) -> None:
    """Write the page of the latest checkpoint of the run in `workdir`; it is evaluated anew where it must be.

    Raises:
      UserError: a folder without a run, or a run without a checkpoint.
      RunFailed: its checkpoints cannot be read, or the page cannot be written.
    """
    same = on_first(lambda: workdir.evaluates_as(config))
    began_with = on_first(workdir.read_data)
    experiment = together(lambda: build_experiment(config, began_with=[began_with]))
    with (
        workdir.failures_reported(),
        open_run(config_name, experiment, workdir) as opened,
        evaluating(opened.step),
    ):
        (write_page_again if same else evaluate_run)(opened)
