"""Evaluate the encoder of a run, and write its results and its page; or evaluate it on other data."""

from ml_collections import ConfigDict

from tcl_jax.augment import make_views
from tcl_jax.encoder.from_run import read_trained
from tcl_jax.errors import UserError
from tcl_jax.evaluate import evaluate
from tcl_jax.experiment.build import build_experiment, make_evaluator
from tcl_jax.experiment.data import load_evaluated, load_outliers
from tcl_jax.experiment.opened import open_run
from tcl_jax.experiment.parts import make_parts
from tcl_jax.experiment.results import evaluate_run, results_of
from tcl_jax.models import make_encode
from tcl_jax.parallel import make_mesh
from tcl_jax.processes import on_first, together
from tcl_jax.report.results import print_results
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.interruption import evaluating


def run(config: ConfigDict, workdir: Workdir, config_name: str, *, checkpoint: str = "latest") -> None:
    """Evaluate a checkpoint of the run in `workdir`: the "latest", or the "best" by the metric of held-out images.

    Where `config.data.evaluate_on` names other data than the run was started with, nothing of the run is touched but
    results_on_<data>.json.

    Raises:
      UserError: a folder without a run, no such checkpoint yet, or nothing to evaluate it on.
      RunFailed: its checkpoints cannot be read.
    """
    # Before anything is made in the folder.
    started = on_first(lambda: workdir.read_config()[1].data.to_dict())
    if started.get("evaluate_on") != config.data.evaluate_on.to_dict():
        _evaluate_on_other_data(config, workdir, checkpoint)
        return
    began_with = on_first(workdir.read_data)
    experiment = together(lambda: build_experiment(config, began_with=[began_with]))
    if experiment.evaluator is None:
        raise UserError(
            f"The run in {workdir.path} has no test images, as data.test_split is '': name labelled data to evaluate "
            "on by --config.data.evaluate_on.name."
        )
    with (
        workdir.failures_reported(),
        open_run(config_name, experiment, workdir, checkpoint=checkpoint) as opened,
        evaluating(opened.step),
    ):
        evaluate_run(opened, checkpoint=checkpoint)


def _evaluate_on_other_data(config: ConfigDict, workdir: Workdir, checkpoint: str) -> None:
    """Images are normalised as in training; neither its data nor its optimizer are needed."""
    mesh = make_mesh()
    parts = make_parts(config, mesh)
    trained = read_trained(workdir, checkpoint=checkpoint, mesh=mesh)
    description = trained.description
    dataset = together(lambda: load_evaluated(config, description.image_shape))
    evaluator = make_evaluator(
        config,
        parts,
        dataset,
        outliers=together(lambda: load_outliers(config, description.image_shape)),
        trained_class_names=description.class_names,
        model=trained.model,
        encode=make_encode(trained.model, mean=description.mean, std=description.std, mesh=mesh),
        probe_views=make_views(parts.policies[:1], mean=description.mean, std=description.std),
    )
    assert evaluator is not None  # load_evaluated refuses data without a test split
    with evaluating(description.step):
        evaluation = evaluate(evaluator, trained.variables)
    results = results_of(
        evaluation,
        config_name=description.config_name,
        dataset=description.dataset,
        evaluated_on=dataset.name,
        loss=description.loss,
        checkpoint=checkpoint,
        step=description.step,
        params_sha256=description.params_sha256,
    )
    with workdir.failures_reported():
        path = on_first(lambda: workdir.write_results(results, checkpoint, on=dataset.name))
    print_results(results, path)
