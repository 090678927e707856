"""What all benchmarks share: records, tables, the command to repeat; and the pages of benchmarks/results/."""

import json
import pathlib

import pytest

from benchmarks import (
    accuracy_page,
    augment,
    gpu,
    loss_page,
    plans,
    results,
    start_up,
    sweep,
    train_step_page,
)
from benchmarks import input as input_

pytestmark = pytest.mark.slow  # of tools and records

PAGES = {
    "accuracy": accuracy_page.page,
    "augment": augment.page,
    "gpu": gpu.page,
    "input": input_.page,
    "loss": loss_page.page,
    "plans": plans.page,
    "start_up": start_up.page,
    "train_step": train_step_page.page,
}
RECORDS = sorted(results.FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_committed_pages_are_made_of_their_records(path: pathlib.Path) -> None:
    (make_page,) = (make for name, make in PAGES.items() if path.stem.startswith(f"{name}_"))
    pictures = sorted(picture.name for picture in results.FOLDER.glob(f"{path.stem}_*.png"))
    text = results.with_pictures(make_page(json.loads(path.read_text())), pictures)
    assert path.with_suffix(".md").read_text() == text


@pytest.mark.parametrize(
    "path", [path for path in RECORDS if path.stem.startswith("accuracy")], ids=lambda path: path.stem
)
def test_committed_studies_have_the_pictures_of_their_records(path: pathlib.Path) -> None:
    names = {f"{path.stem}_{what}.png" for what in accuracy_page.pictures(json.loads(path.read_text()))}
    assert names == {picture.name for picture in results.FOLDER.glob(f"{path.stem}_*.png")}


def test_written_files_are_the_record_its_page_and_its_pictures(tmp_path, monkeypatch) -> None:
    words = ["/x/sweep.py", "--output", "/a", "--config=c.py", "--config.data.data_dir=/b", "--steps=2"]
    monkeypatch.setattr("sys.argv", words)
    record = results.start(tmp_path / "new") | {"rows": [["a", "1"]]}
    text = results.write(
        record,
        lambda record: results.page("Title", record, results.table(["", "n"], record["rows"])),
        tmp_path / "new",
        "name",
        lambda record: {"curve": b"png"},
    )
    assert text.startswith("# Title\n\n    python -m benchmarks.sweep --config=c.py --steps=2\n\n")
    assert text.endswith("| | n |\n| --- | ---: |\n| a | 1 |\n\n![name_curve.png](name_curve.png)\n")
    assert (tmp_path / "new" / "name.md").read_text() == text
    assert json.loads((tmp_path / "new" / "name.json").read_text()) == record
    assert (tmp_path / "new" / "name_curve.png").read_bytes() == b"png"


def test_an_output_that_cannot_be_written_is_named_before_the_work(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"--output is '.*file', which is not a folder"):
        results.start(tmp_path / "file")


def test_page_of_a_sweep_has_the_share_of_whole_commands() -> None:
    record = {
        "command": "python -m benchmarks.sweep",
        "date": "2026-01-01",
        "machine": {"device": "CPU", "processor": "one", "cores": 2, "versions": {"jax": "1.2.3"}},
        "experiment": "digits_tcl",
        "network": "resnet18, width 8",
        "images_per_step": 64,
        "members": 4,
        "seconds_per_step": {"a single run": 0.01, "all members at once": 0.02},
        "seconds_of_commands": {
            "single": [10.0] * 4,
            "sweep": [20.0],
            "members_with_the_same_parameters": [3],
        },
    }
    text = sweep.page(record)
    assert "| a single run | 10.0 ms | |\n| all members at once | 20.0 ms | 0.50 |" in text
    assert "| one sweep | 20 s | 0.50 |\n\n3 of 4 members" in text
