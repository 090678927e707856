"""All runs of one config share the parts of one experiment: compiling its step is most of their time."""

import pytest

from tcl_jax.experiment import build
from tcl_jax.modes import evaluate, report, sweep, train
from tcl_jax.parallel import make_mesh
from tests.modes.tiny import built_once, built_text


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
        built_text.cache_clear()
        yield
    built_text.cache_clear()


@pytest.fixture(scope="module")
def without_pages():
    """No page is drawn; test_report.py has the pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tcl_jax.experiment.results.write_page", lambda *_: None)
        yield
