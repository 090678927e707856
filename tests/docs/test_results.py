"""The numbers that pages quote are those in benchmarks/results/, and those follow from the records beside them."""

import json
import pathlib
import re

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # of tools and records

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ("README.md", "docs/reproduction.md", "docs/running.md", "docs/scaling.md")
STUDIES = sorted(path.stem for path in RESULTS.glob("accuracy_*.json"))


def quoted_rows(page):
    """(file, row) of each row of a table that stands under a link to a file of results, before the next heading."""
    file = None
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            file = None
        if linked := re.search(r"\((?:\.\./)?benchmarks/results/(\w+\.md)\)", line):
            file = linked[1]
        if file and line.startswith("| ") and not line.startswith("| ---"):
            yield file, line


@pytest.mark.parametrize("page", PAGES)
def test_quoted_rows_are_rows_of_the_results(page) -> None:
    rows = list(quoted_rows(page))
    for file, row in rows:
        assert row in (RESULTS / file).read_text(encoding="utf-8").splitlines()
    if page == "docs/reproduction.md":
        assert {file for file, _ in rows} >= {f"{study}.md" for study in STUDIES if "reduced" in study}


@pytest.mark.parametrize("study", STUDIES)
def test_tables_have_mean_and_deviation_of_their_runs(study) -> None:
    record = json.loads((RESULTS / f"{study}.json").read_text())
    text = (RESULTS / f"{study}.md").read_text(encoding="utf-8")
    for row in record["rows"]:
        assert f"    {row['command']}  # {row['label']}" in text
        by_settings: dict[str, list[float]] = {}
        for run in row["runs"]:
            settings = {k: v for k, v in run["config"].items() if k not in ("seed", "data.data_dir")}
            by_settings.setdefault(json.dumps(settings), []).append(100 * run["metrics"]["knn"])
        for values in by_settings.values():
            mean = f"{np.mean(values):.2f}"
            assert (mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.2f}") in text


def test_results_name_no_folder_of_a_machine() -> None:
    for path in [*RESULTS.glob("*.json"), *RESULTS.glob("*.md")]:
        assert not re.search(r'"/\w|[ =(]/(home|root|tmp|work)/', path.read_text(encoding="utf-8")), path.name
