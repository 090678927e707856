"""The rooms of the package as a stranger finds them: every name that is a module's gives that module."""

import importlib
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
