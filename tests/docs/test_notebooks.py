"""The notebooks run, without Jupyter: their Python as it is, their commands by a shell."""

import json
import os
import pathlib
import re
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells_of(notebook, kind):
    return [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == kind]


def source_of(notebook):
    cells = "\n".join("".join(cell["source"]) for cell in cells_of(notebook, "code"))
    installed = re.sub(
        r"^( *)%pip .*", r"\1raise AssertionError('it is installed')", cells, flags=re.MULTILINE
    )
    return re.sub(r"^!(.*)", r"shell(f'\1')", installed, flags=re.MULTILINE)


def shell(command):
    environment = os.environ | dict(
        PATH=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}", PYTHONPATH=str(ROOT), XLA_FLAGS=""
    )
    subprocess.run(command, shell=True, check=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook, tmp_path, monkeypatch):
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    ipython = SimpleNamespace(Image=lambda path, width: pathlib.Path(path).read_bytes(), display=len)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    exec(compile(source_of(notebook), notebook, "exec"), {"__name__": "notebook", "shell": shell})


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_as_it_was_run_from_top_to_bottom(notebook):
    cells = cells_of(notebook, "code")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [
        output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"
    ]
    assert not re.search(r"/(home|root|tmp|work)/", notebook.read_text("utf-8"))
    assert "%pip install" in "".join(cells[0]["source"])


def test_notebooks_are_small():
    assert len(NOTEBOOKS) == 3
    assert sum(path.stat().st_size for path in NOTEBOOKS) < 1_000_000
