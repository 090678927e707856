"""The rooms of the package as a stranger finds them: every name that is a module's gives that module."""

import ast
import importlib
import pathlib
import pkgutil

import pytest

import tcl_jax

MODULES = [
    m.name for m in pkgutil.walk_packages(tcl_jax.__path__, "tcl_jax.") if not m.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_hidden_behind_a_function_of_its_name(name):
    module = importlib.import_module(name)
    package, _, attribute = name.rpartition(".")
    # `import a.b as b` takes what the package has under that name.
    assert getattr(importlib.import_module(package), attribute, module) is module


# From the ground up: a room may use those above it in this list. Rooms on one line do not use each other.
ORDER = [
    {"errors"},
    {"fields", "files", "pixels", "processes", "resolve", "parallel"},
    {"losses"},
    {"augment", "models", "data"},
    {"run"},
    {"report"},
    {"train"},
    {"encoder", "evaluate"},
    {"experiment"},
    {"plan"},
    {"modes"},
    {"config"},  # fields and defaults of experiments: below it a config comes as an argument
    {"command_line"},
    {"__main__"},
]
RANKS = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


PACKAGE = pathlib.Path(tcl_jax.__file__).parent
FILES = {
    ".".join(("tcl_jax", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports_of(path):
    """What a file imports, anywhere in it: also within functions, and for annotations alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside if inside <= FILES.keys() else {node.module} | (inside & FILES.keys())
    return found


def graph():
    """Module -> the modules of the package that it imports; the package itself, which is lazy, is left out."""
    arrows = {name: imports_of(path) & FILES.keys() for name, path in FILES.items()}
    return {name: used - {name, "tcl_jax"} for name, used in arrows.items() if name != "tcl_jax"}


def room_of(module):
    return module.split(".")[1]


def test_every_arrow_points_down():
    wrong = []
    for module, used in graph().items():
        for other in used:
            here, there = room_of(module), room_of(other)
            if here != there and RANKS[there] > RANKS[here]:
                wrong.append(f"{module} -> {other}")
    assert wrong == []


def test_there_is_no_circle():
    arrows, done, circles = graph(), set(), []

    def visit(module, path):
        if module in path:
            circles.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for other in sorted(arrows[module]):
                visit(other, [*path, module])
            done.add(module)

    for module in sorted(arrows):
        visit(module, [])
    assert circles == []


def test_the_library_imports_no_experiment():
    """No module imports one, `config` finds them by their names, and the command line alone asks it."""
    for module, path in FILES.items():
        named = imports_of(path)
        assert not {name for name in named if "configs" in name.split(".")}, path
        if "tcl_jax.config" in named and module != "tcl_jax":
            assert room_of(module) == "command_line", path


def test_modes_holds_the_verbs_and_nothing_else():
    verbs = {"train", "evaluate", "report", "compare", "preview", "export", "sweep", "plan"}
    assert {path.stem for path in (PACKAGE / "modes").glob("*.py")} - {"__init__"} == verbs
