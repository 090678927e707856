"""A run that costs next to nothing: the config and the encoder that the tests of whole runs share.

They name the encoder as a user names one of their own. One config means one program, which is compiled once for all.
"""

import functools
import json

from ml_collections import ConfigDict

from configs import digits_tcl
from tcl_jax.experiment import build
from tcl_jax.experiment.build import Experiment, build_experiment
from tcl_jax.run.metrics_log import read_metrics


def tiny_config(data_dir, **train) -> ConfigDict:
    """15 steps, 5 in an epoch; a checkpoint after each epoch, and a record for every two steps."""
    config = digits_tcl.get_config()
    config.data.data_dir = str(data_dir)
    config.data.train_split = "train[:200]"
    config.data.test_split = "test[:100]"
    config.model.update(name="tests.modes.tiny_encoder:Tiny", width=8)
    config.train.update(**{"batch_size": 32, "epochs": 3, "warmup_epochs": 0, "learning_rate": 0.1} | train)
    config.validation.images = 40
    config.evaluation.metrics = ("linear_probe", "knn")  # logistic regression would take longer than training
    config.probe.update(epochs=2, batch_size=32)
    config.checkpoint.every_epochs = 1
    config.log.every_steps = 2
    return config


def copy_of(config: ConfigDict, **fields) -> ConfigDict:
    """The config with some fields changed, by full names with "__" for the dot."""
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return changed


def faults_config(data_dir) -> ConfigDict:
    """18 steps, 6 in an epoch; its checkpoints are above 20 kB."""
    return copy_of(tiny_config(data_dir), validation__images=0, model__projection_dim=512)


def assert_same_end(workdir, undisturbed):
    ours, theirs = workdir.read_results(), undisturbed.read_results()
    for key in ("params_sha256", "step", "epochs", "skipped_steps", "final_train_loss"):
        assert ours[key] == theirs[key], key
    curves = [[(r["step"], r["loss"]) for r in read_metrics(w.metrics)] for w in (workdir, undisturbed)]
    assert curves[0] == curves[1]


@functools.cache
def _built(text: str, _: int) -> Experiment:
    """The experiment of a config as JSON."""
    config = digits_tcl.get_config()
    with config.unlocked():
        config.update(json.loads(text))
    return build_experiment(config)


def built_once(config: ConfigDict, *, begins: bool = False, began_with=()) -> Experiment:
    """`build_experiment`, whose parts are made and compiled once for each config and number of devices."""
    del begins, began_with  # there is no file to begin with, and the data are always the same
    return _built(config.to_json(), build.make_mesh().size)
