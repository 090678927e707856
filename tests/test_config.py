"""Experiments by name and by path, from any folder; and what --help and --mode=fields say of them."""

import re

import pytest

from tcl_jax.command_line.flags import MODES, asks_for_help, help_text
from tcl_jax.command_line.show_fields import descriptions, format_fields
from tcl_jax.config import defaults, known, load
from tcl_jax.errors import UserError
from tcl_jax.experiment.parts import bounds
from tcl_jax.fields import flat_items

FIELDS = dict(flat_items(defaults()))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_experiment_is_found_by_its_name_in_any_folder(elsewhere):
    assert load("digits_tcl").train.epochs == 60
    assert load("smoke:digits_tcl").train.epochs == 4
    assert load("protocol:cifar10_reduced").data.name == "cifar10"


@pytest.mark.parametrize("start", ["defaults()", 'load("digits_tcl")', 'load("base.py")'])
def test_a_file_of_ones_own_starts_from_any_config(elsewhere, start, monkeypatch):
    (elsewhere / "base.py").write_text("from tcl_jax.config import defaults as get_config\n")
    (elsewhere / "mine.py").write_text(
        "from tcl_jax.config import defaults, load\n"
        f"def get_config(seed='7'):\n    config = {start}\n    config.seed = int(seed)\n    return config\n"
    )
    (elsewhere / "digits_tcl.py").write_text("")  # a path has an ending, a name has none
    assert load("mine.py").seed == load(str(elsewhere / "mine.py")).seed == 7
    assert load("mine.py:8").seed == 8
    monkeypatch.setenv("HOME", str(elsewhere))
    assert load("~/mine.py").seed == 7
    assert load("mine.py").model.width == (8 if "digits" in start else 64)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("digits", "The experiment 'digits' does not exist: give digits_tcl or a Python file"),
        ("cifar_tcl", "The experiment 'cifar_tcl' does not exist: give cifar10_tcl, cifar100_tcl"),
        ("digits-tcl", "The experiment 'digits-tcl' does not exist: give digits_tcl or"),
        ("smok:digits_tcl", "The experiment 'smok' does not exist: give cifar100_tcl, .*, smoke:NAME or"),
        ("smoke:digits", "--config names the experiment 'digits' to shrink, expected one of cifar100_tcl"),
        ("smoke", "--config names the experiment '' to shrink"),
        ("mine", "The experiment 'mine' does not exist: give mine.py or"),
        ("__init__", "The experiment '__init__' does not exist"),
        ("", "The experiment '' does not exist"),
        ("configs", "The experiment 'configs' does not exist"),
        (
            "configs/digits_tcl.py",
            "The config file '{here}/configs/digits_tcl.py' does not exist: give digits_tcl or",
        ),
        ("runs/digits_tcl", "The experiment 'runs/digits_tcl' does not exist: give digits_tcl or"),
        ("mine.py", "The config file 'mine.py' cannot be loaded .KeyError: 'get_config'"),
        ("mine.py:3", "The config file 'mine.py' cannot be loaded .KeyError: 'get_config'"),
        ("digits_tcl:3", "digits_tcl.py' cannot be loaded .TypeError: get_config.. takes 0 positional"),
        (
            "line.py",
            "The config file 'line.py' cannot be loaded .ZeroDivisionError: .* in line 2.: correct it",
        ),
        ("syntax.py", "The config file 'syntax.py' cannot be loaded .IndentationError: .*line 2"),
        ("lacks.py", "The config file 'lacks.py' lacks seed: begin with defaults.. of tcl_jax.config"),
        ("none.py", "The config file 'none.py' cannot be loaded"),
        ("exit.py", "The config file 'exit.py' cannot be loaded .SystemExit: 0 in line 2.: correct it"),
    ],
)
def test_a_mistake_is_one_sentence(elsewhere, name, sentence):
    files = {
        "mine.py": "",
        "line.py": "def get_config():\n    return 1 / 0\n",
        "syntax.py": "def get_config():\nreturn\n",
        "lacks.py": "from tcl_jax.config import defaults\ndef get_config():\n    c = defaults().unlock()\n"
        "    del c['seed']\n    return c\n",
        "none.py": "def get_config():\n    pass\n",
        "exit.py": "import sys\nsys.exit(0)\n",
    }
    for file, text in files.items():
        (elsewhere / file).write_text(text)
    with pytest.raises(UserError, match=sentence.format(here=re.escape(str(elsewhere)))) as caught:
        load(name)
    assert "\n" not in str(caught.value)


def test_every_field_has_a_description_and_every_number_its_bounds():
    said = descriptions()
    assert said.keys() >= FIELDS.keys()
    for name, value in FIELDS.items():
        assert said[name] or said[name.rpartition(".")[0]], name
        assert (type(value) in (int, float)) == (name in bounds()), name


def test_fields_are_those_of_the_config_with_what_differs():
    text = format_fields(load("digits_tcl"))
    for name in FIELDS:
        assert re.search(rf"^{re.escape(name)} = ", text, flags=re.MULTILINE), name
    assert "model.width = 8    (int, 1 to 65536, default 64)" in text
    assert "augment.views = ('crop_flip', 'crop_flip')    (names)" in text
    assert "Channels of the first stage" in text
    assert ", default" not in format_fields(defaults())
    assert "Known: tcl, supcon, ntxent, cross_entropy; or module:attribute of your own." in text


@pytest.mark.parametrize("width", [10, 60, 80, 300])
def test_help_is_short_and_has_every_mode_flag_and_experiment(width):
    text = help_text("tcl-jax", width)
    lines = [line for line in text.splitlines() if not line.startswith("    tcl-jax")]  # which can be copied
    assert max(map(len, lines)) <= max(60, min(width, 110))
    assert len(lines) < 55 or width < 80
    for word in (*MODES, "workdir", "workdirs", "sweep", "format", "process_id", "checkpoint", *known()):
        assert re.search(rf"\b{word}\b", text), word
    assert text.count("    tcl-jax --") == 3


def test_help_is_asked_for_by_its_usual_names():
    assert all(asks_for_help(["tcl-jax", word]) for word in ("-h", "--help", "-help", "--helpshort", "-?"))
    assert not any(asks_for_help(["tcl-jax", word]) for word in ("help", "--workdir=help", "--helpfull"))
