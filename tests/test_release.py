"""What is released: one version, and files that hold what the losses and the command need, and nothing else."""

import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser

import pytest

import tcl_jax
from tcl_jax.config import known

pytestmark = pytest.mark.xdist_group("release")  # one build at a time: both would write into the checkout

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_is_that_of_the_changelog_and_of_the_citation():
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    changes = (ROOT / "CHANGELOG.md").read_text()
    version, date = re.search(r"^## \[?([\d.]+)\]? - (.+)$", changes, flags=re.MULTILINE).groups()
    assert version == cited == tcl_jax.__version__
    assert f"\ndate-released: {date}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_changelog_has_the_headings_of_keep_a_changelog():
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    releases = [line for line in lines if line.startswith("## ")]
    assert releases[0] == "## Unreleased"
    assert all(re.fullmatch(r"## \d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", line) for line in releases[1:])
    kinds = [line for line in lines if line.startswith("### ")]
    assert set(kinds) <= {
        f"### {kind}" for kind in ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
    }


def test_every_room_is_packed():
    rooms = {f"tcl_jax.{path.parent.name}" for path in (ROOT / "tcl_jax").glob("*/__init__.py")}
    packed = PROJECT["tool"]["setuptools"]["packages"]
    assert packed == sorted({"tcl_jax", "tcl_jax.configs", "tcl_jax.weights"} | rooms)


def test_every_import_is_of_a_package_that_an_extra_names():
    """The losses' own packages are JAX' and those of the standard library."""
    extras = PROJECT["project"]["optional-dependencies"]
    named = {
        re.split(r"[\[<>=;]", word)[0].lower() for extra in ("encoder", "train") for word in extras[extra]
    }
    modules = {"absl": "absl-py", "PIL": "pillow", "orbax": "orbax-checkpoint", "sklearn": "scikit-learn"}
    found = set()
    for path in (ROOT / "tcl_jax").rglob("*.py"):
        found |= set(
            re.findall(r"^\s*(?:import|from) ([A-Za-z]\w*)[\w. ]*(?:$| import)", path.read_text(), re.M)
        )
    found -= {"tcl_jax", "jaxtyping", *sys.stdlib_module_names}  # jaxtyping: by annotations alone
    assert {modules.get(name, name).lower().replace("_", "-") for name in found} - named == set()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the two files, built as for a release: the wheel from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_the_package_with_its_experiments_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"tcl_jax-{tcl_jax.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = Parser().parsestr(
            archive.read(f"tcl_jax-{tcl_jax.__version__}.dist-info/METADATA").decode()
        )
        scripts = archive.read(f"tcl_jax-{tcl_jax.__version__}.dist-info/entry_points.txt").decode()
    inside = {name for name in names if not name.startswith(f"tcl_jax-{tcl_jax.__version__}.dist-info/")}
    tracked = subprocess.run(
        ["git", "ls-files", "tcl_jax", "configs", "weights"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert inside == {re.sub("^(configs|weights)/", r"tcl_jax/\1/", name) for name in tracked}
    assert {f"tcl_jax/configs/{name}.py" for name in (*known(), "smoke", "protocol")} <= inside
    assert {
        "tcl_jax/py.typed",
        "tcl_jax/report/templates/run.html",
        "tcl_jax/report/assets/page.css",
    } <= inside
    assert "tcl-jax = tcl_jax.__main__:main" in scripts
    assert set(metadata.get_all("Provides-Extra")) >= {"encoder", "train", "prepare", "tpu-plan"}
    assert [word for word in metadata.get_all("Requires-Dist") if "extra ==" not in word] == ["jax>=0.4.38"]
    assert "Project-URL" not in metadata  # there is none yet


@pytest.mark.slow
def test_the_source_distribution_holds_what_its_tests_need(built):
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert {name for name in tracked if not name.startswith(".")} <= names
    assert not {name for name in names if re.search(r"(^|/)(runs|\.venv|__pycache__)|\.pyc$", name)}


@pytest.mark.slow
def test_an_index_would_take_the_files(built):
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()], check=True)


def test_the_extra_of_load_encoder_is_all_that_it_imports():
    extras = PROJECT["project"]["optional-dependencies"]
    others = {"array_record", "flatbuffers", "grain", "jinja2", "matplotlib", "sklearn", "tensorboardX"}
    others |= {"tensorflow_datasets", "tensorflow", "threadpoolctl"}
    assert not others & {re.split(r"[\[<>=;]", word)[0] for word in extras["encoder"]}
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({others!r}))\n"
        "from tcl_jax import load_encoder\nimport tcl_jax.encoder.image_files, tcl_jax.encoder.from_run"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
