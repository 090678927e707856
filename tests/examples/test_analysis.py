"""The command: its files, and one sentence for each mistake."""

import csv
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from examples.analysis import __main__ as command
from tcl_jax.errors import RunFailed, UserError

pytestmark = pytest.mark.slow  # of examples

SMALL = ("--k1", "10", "5000", "--k2", "1", "4", "--positives", "3", "--negatives", "5")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis") / "made" / "here"
    command.main(["--out", str(folder), *SMALL])
    return folder


def test_csv_holds_both_kinds_of_every_setting_and_similarity(written):
    with (written / "gradient_response.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("kind", "loss", "temperature", "k1", "k2", "similarity", "closed_form", "autodiff"),
    ]
    settings = {(row["kind"], row["loss"], row["k1"], row["k2"]) for row in rows}
    drawn = {("supcon", "0", "1"), ("tcl", "10", "1"), ("tcl", "5000", "1"), ("tcl", "5000", "4")}
    assert settings == {(kind, *setting) for kind in ("positive", "negative") for setting in drawn}
    assert len(rows) == 2 * 4 * 81
    formula, autodiff = (np.array([float(row[name]) for row in rows]) for name in ("closed_form", "autodiff"))
    np.testing.assert_allclose(autodiff, formula, atol=1e-6 * np.abs(formula).max())
    assert {float(row["similarity"]) for row in rows} >= {-1.0, 0.0, 1.0}


def test_picture_is_a_small_png(written):
    file = written / "gradient_response.png"
    assert file.stat().st_size < 150_000
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        assert picture.width > 800


def test_a_formula_that_differs_from_autodiff_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "disagreement", lambda curve: 2e-6)
    with pytest.raises(RunFailed, match="differ by"):
        command.main(["--out", str(tmp_path), *SMALL])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--temperature", "0"], "--temperature is 0, expected a number from 0.01 to 10."),
        (["--temperature", "warm"], "invalid float value: 'warm'; --help lists the options."),
        (["--k1", "-1"], "--k1 has -1, expected numbers from 0 to 1e9."),
        (["--k2", "nan"], "--k2 has nan, expected numbers from 0 to 1e9."),
        (["--k1", "5", "5"], "expected at most 5 that differ"),
        (["--k2", "1", "2", "3", "4", "5", "6"], "--k2 has 6 values"),
        (["--positives", "0"], "--positives is 0, expected a number from 1 to 200."),
        (["--negatives", "9999"], "--negatives is 9999"),
        (["--colour", "red"], "--help lists the options."),
    ],
)
def test_mistakes_are_reported_before_anything_is_written(flags, message, tmp_path):
    with pytest.raises(UserError) as caught:
        command.main(["--out", str(tmp_path / "new"), *flags])
    assert message in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence_and_exit_code_2(tmp_path):
    (tmp_path / "file").write_text("")
    run = subprocess.run(
        [sys.executable, "-m", "examples.analysis", "--out", str(tmp_path / "file")],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("error: --out is ")
    assert run.stderr.count("\n") == 1
