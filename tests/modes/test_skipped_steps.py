"""A run that leaves out the steps whose numbers are not finite."""

import re

import numpy as np
import pytest

from tcl_jax.errors import RunFailed
from tcl_jax.modes import train
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.sweep_step import OneByOne
from tests.modes.tiny import copy_of, faults_config

# In the process of test_faults.py, with which they share what is compiled.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("faults"),
    pytest.mark.usefixtures("on_one_device", "without_pages", "without_evaluation"),
]


@pytest.fixture(scope="module")
def config(data_dir):
    return copy_of(faults_config(data_dir), train__not_finite="skip")


def run_with_not_finite(config, workdir, steps):
    """A run with train.not_finite="skip" whose temperature is not a number in some steps, counted from 1."""

    def broken(step):
        def wrapped(state, batch, hyper):
            bad = int(state.step) + 1 in steps
            return step(state, batch, hyper._replace(temperature=np.float32(np.nan)) if bad else hyper)

        return OneByOne(wrapped)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "OneByOne", broken)
        train.run(config, workdir, "digits_tcl")


def test_skipped_steps_are_in_the_results_of_a_run(config, tmp_path, capsys):
    workdir = Workdir(str(tmp_path / "run"))
    run_with_not_finite(config, workdir, {4, 17, 18})
    results = workdir.read_results()
    assert results["skipped_steps"] == 3
    assert re.search(r"steps skipped +\| 3 ", capsys.readouterr().out)
    records = read_metrics(workdir.metrics)
    assert [(r["step"], r["skipped"]) for r in records if "skipped" in r] == [(4, 1), (18, 2)]
    assert records[-1]["loss"] is None
    last = [r["loss"] for r in records if r["step"] in (14, 16)]
    assert results["final_train_loss"] == pytest.approx(sum(last) / 2)


def test_ten_skipped_steps_in_a_row_end_a_run_whose_last_good_checkpoint_is_from_before(config, tmp_path):
    workdir = Workdir(str(tmp_path / "run"))
    with pytest.raises(
        RunFailed, match=r"^10 steps in a row were skipped, .* at step 17; .* that of step 12: try"
    ):
        run_with_not_finite(config, workdir, set(range(8, 19)))
    assert workdir.read_results() is None


def test_a_run_without_skipped_steps_says_nothing_of_them(undisturbed, config, capsys):
    assert undisturbed.read_results()["skipped_steps"] == 0
    train.run(config, undisturbed, "digits_tcl")
    assert "skipped" not in capsys.readouterr().out
