"""Names in a config: known ones, and parts of the user's own."""

import sys

import pytest

from tcl_jax.errors import UserError
from tcl_jax.resolve import arguments_of, is_own, resolve

KNOWN = {"one": 1, "two": 2}


def find(name, known=KNOWN):
    return resolve(name, known, field="model.name", example="my.py with `def make(): ...`")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own_part")]:
        del sys.modules[name]


def test_known_names_come_first():
    assert find("two") == 2
    assert find("math:pi", {"math:pi": 3}) == 3


def test_a_part_is_found_in_the_current_folder_in_packages_and_in_classes(folder):
    (folder / "own_part.py").write_text("class A:\n    value = 7\nB = 8\n")
    (folder / "own_parts").mkdir()
    (folder / "own_parts" / "inner.py").write_text("C = 9\n")
    assert find("own_part:B") == 8
    assert find("own_part:A.value") == 7
    assert find("own_parts.inner:C") == 9


@pytest.mark.parametrize(
    "name", ["cifar10:3.0.2", "cifar10", "a:b:c", "a b:c", "path/to.py:f", ":f", "m:", ""]
)
def test_other_names_are_not_parts_of_the_users_own(name):
    assert not is_own(name)
    with pytest.raises(
        UserError,
        match=r"^model\.name is '.*', expected one of one, two, or 'module:attribute' of your own "
        r"\(my\.py with `def make\(\): \.\.\.`\)\.$",
    ):
        find(name)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("x = 1 +\n", r"SyntaxError"),
        (
            "\nimport no_such_package\n",
            r"ModuleNotFoundError: No module named 'no_such_package' in line 2 of .*own_part",
        ),
        ("def f():\n    raise ValueError('no')\nf()\n", r"ValueError: no in line 2 of .*own_part"),
        ("import sys\nmissing\n", r"NameError: .*'missing'.* in line 2 of"),
    ],
)
def test_a_mistake_in_the_users_module_is_one_sentence(folder, text, cause):
    (folder / "own_part.py").write_text(text)
    with pytest.raises(
        UserError, match=rf"model.name is 'own_part:f', but its module cannot .*{cause}"
    ) as raised:
        find("own_part:f")
    assert "\n" not in str(raised.value)


def test_arguments_are_those_that_a_part_names():
    available = {"a": 1, "b": 2}
    assert arguments_of(lambda x, a: 0, available, field="f", positional=1) == {"a": 1}
    assert arguments_of(lambda *, b, c=3: 0, available, field="f") == {"b": 2}
    assert arguments_of(lambda **rest: 0, available, field="f") == {}
    assert arguments_of(lambda *rest: 0, available, field="f", positional=2) == {}
    assert arguments_of(dict, available, field="f") == {}


@pytest.mark.parametrize(
    ("part", "positional", "message"),
    [
        (
            lambda c: 0,
            0,
            r"f names a function that needs 'c', expected by name any of a",
        ),
        (lambda x: 0, 2, r"takes 1 arguments by position, expected 2"),
        (lambda a, /: 0, 0, r"needs 'a'"),
        (3, 0, r"f names a int, expected something that can be called"),
    ],
)
def test_a_part_that_cannot_be_called_is_named(part, positional, message):
    with pytest.raises(UserError, match=message):
        arguments_of(part, {"a": 1}, field="f", positional=positional)
