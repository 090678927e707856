"""The demo's run, planned for simulated devices: what is compiled for it is shared by the tests of this folder."""

import functools
import pathlib
import types

import pytest

from configs import digits_tcl
from tcl_jax.experiment import build
from tcl_jax.parallel import make_mesh
from tcl_jax.plan import estimate


def forbidden(*arguments, **options):
    raise AssertionError("a plan reads and trains nothing")


@pytest.fixture(scope="session")
def planned(tmp_path_factory):
    """A function (number of devices, fields by "part__name") -> (PlannedRun, plan), where no image may be read."""

    def planned_run(config, mesh):
        run = estimate.planned_run(config, mesh)
        return run._replace(step=types.SimpleNamespace(lower=run.step.lower, __call__=forbidden))

    @functools.cache
    def make(devices, **fields):
        config = digits_tcl.get_config()
        config.data.data_dir = str(tmp_path_factory.getbasetemp() / "nothing-here")
        config.update_from_flattened_dict({name.replace("__", "."): x for name, x in fields.items()})
        run = planned_run(config, make_mesh(devices))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "load_data", forbidden)
            patch.setattr(estimate, "planned_run", lambda *_: run)
            plan = estimate.make_plan(config, make_mesh(devices), peak_share=0.5)
        assert not pathlib.Path(config.data.data_dir).exists()
        return run, plan

    return make
