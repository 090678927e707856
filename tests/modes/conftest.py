"""All runs of one config share the parts of one experiment: compiling its step is most of their time."""

import numpy as np
import pytest
from absl import logging

from tcl_jax.evaluate import Evaluation
from tcl_jax.experiment import build, results
from tcl_jax.modes import evaluate, report, sweep, train
from tcl_jax.parallel import make_mesh
from tcl_jax.run.workdir import Workdir
from tests.modes.tiny import built_once


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Where the digits are prepared, once for each process."""
    return tmp_path_factory.getbasetemp() / "data"


@pytest.fixture(scope="module")
def shared_parts():
    """Used by modules that train several runs."""
    with pytest.MonkeyPatch.context() as patch:
        for mode in (train, evaluate, report, sweep):
            patch.setattr(mode, "build_experiment", built_once)
        yield


@pytest.fixture(scope="module")
def on_one_device(shared_parts):
    """Which is faster than eight that share two cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "make_mesh", lambda: make_mesh(1))
        yield


@pytest.fixture(scope="module")
def without_pages():
    """No page is drawn; test_report.py has the pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tcl_jax.experiment.results.write_page", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def without_evaluation():
    """What an evaluation finds is always the same."""
    nothing, labels = np.zeros((2, 1)), np.arange(2)
    found = Evaluation(nothing, nothing, labels, {"knn": 1.0}, {"knn": labels})
    logging.set_verbosity(logging.FATAL)  # as main.py does
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "evaluate", lambda *_: found)
        yield


@pytest.fixture(scope="module")
def undisturbed(config, on_one_device, without_pages, without_evaluation, tmp_path_factory):
    """A run of the module's config that nothing happened to."""
    workdir = Workdir(str(tmp_path_factory.mktemp("undisturbed")))
    train.run(config, workdir, "digits_tcl")
    return workdir
