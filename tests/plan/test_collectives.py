"""What devices exchange in a step, by a formula, is what the compiled program exchanges."""

import pytest

from tests.plan.formula import expected_collectives, totals

pytestmark = pytest.mark.xdist_group("plan")  # they share what is compiled


def compiled(plan):
    return {kind: traffic["bytes"] for kind, traffic in plan["collectives"]["compiled"].items()}


@pytest.mark.slow
def test_collectives_of_eight_devices(planned):
    run, plan = planned(8)
    expected = totals(expected_collectives(run))
    assert compiled(plan) == expected
    # A step whose diagnostics are logged gathers the projections again, equal ones, and a little more.
    more = plan["collectives"]["with_diagnostics"]["all-gather"]["bytes"] - expected["all-gather"]
    assert more == 128 * (2 * 4 * 128 + 13)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"train__micro_batch_size": 16},  # loops around the sums of BatchNorm
        {"model__sync_batch_norm": False, "loss__name": "cross_entropy"},
    ],
)
def test_collectives_of_other_settings(planned, fields):
    run, plan = planned(8, model__width=2, **fields)
    assert compiled(plan) == totals(
        expected_collectives(run, sync_batch_norm="model__sync_batch_norm" not in fields)
    )


@pytest.mark.slow
def test_one_device_has_no_collectives(planned):
    _, plan = planned(1, model__width=2)
    assert plan["collectives"] == {"compiled": {}, "with_diagnostics": {}}
