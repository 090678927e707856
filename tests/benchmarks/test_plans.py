"""The plans of docs/scaling.md: their commands are understood, and the page says what the plans have."""

import pytest

from benchmarks.plans import ROWS, page
from tests.benchmarks.test_accuracy import config_of

pytestmark = pytest.mark.slow  # of tools and records


@pytest.mark.parametrize("name", ROWS)
def test_commands_plan_what_the_labels_say(name: str) -> None:
    for row in ROWS[name]:
        config = config_of(row.arguments)
        assert config.model.name == row.label.split()[0].strip(",").lower().replace("-", "")
        size = config.train.micro_batch_size
        assert (f"micro-batches of {size}" if size else "") in row.label
        assert bool(size) == ("micro-batches" in row.label)
        assert config.model.remat == ("model.remat" in row.label)
        side = config.data.image_size
        assert (f"{side}x{side} pixels" in row.label) == ("pixels" in row.label) == bool(side)


def plan(**changes):
    base = {
        "devices": {"count": 1, "kind": "cpu"},
        "batch_size": 4096,
        "memory": {"total": 3 * 2**20},
        "flops": {"compiled": 1e9, "formula": 2e9},
        "collectives": {"compiled": {}},
        "step_seconds": None,
        "views_per_second": None,
    }
    return base | changes


def test_page_has_the_columns_that_some_plan_has() -> None:
    record = {
        "command": "python -m benchmarks.plans --of=x",
        "date": "2026-01-01",
        "machine": {
            "device": "CPU",
            "processor": "one",
            "cores": 2,
            "versions": {"jax": "1.2.3", "libtpu": "not installed"},
        },
        "rows": [{"label": "net", "command": "python main.py", "plan": plan()}],
    }
    assert "| net | 1 x cpu | 4,096 | 3 MiB | 1.00e+09 / 2.00e+09 |" in page(record)
    several = plan(
        devices={"count": 8, "kind": "chip"},
        collectives={"compiled": {"all-reduce": {"bytes": 6000}}},
        step_seconds=0.0123,
        views_per_second=54321.0,
    )
    record["rows"].append({"label": "net", "command": "python main.py", "plan": several})
    text = page(record)
    assert "| net | 1 x cpu | 4,096 | 3 MiB | 1.00e+09 / 2.00e+09 | none | none | none |" in text
    assert "| 1.00e+09 / 2.00e+09 | 6,000 | 12.3 ms | 54,321 |" in text
