"""Annotations of shapes and dtypes are checked while the tests run: a wrong one fails where its function is called."""

import importlib
import inspect
import re
import sys
import textwrap
import typing

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from tests import shapes

PUBLIC = ("tcl_jax.losses", "tcl_jax.augment.ops", "tcl_jax.evaluate", "tcl_jax.data")


def functions():
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            if inspect.isfunction(getattr(module, name)):
                yield pytest.param(getattr(module, name), id=f"{module.__name__}.{name}")


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Writes a function into a module of its own, which is then checked as those of the library."""

    def write(signature, body):
        name = f"annotated_{abs(hash((signature, body)))}"
        source = f"from __future__ import annotations\nimport numpy as np\ndef f{signature}:\n    {body}\n"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        shapes.check((name,))
        return importlib.import_module(name).f

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    return write


def test_annotations_that_hold_pass(checked):
    signature = '(x: Float[Array, "n d"], w: Float[Array, " n"]) -> Float[Array, " d"]'
    f = checked(signature, "return np.asarray(w) @ np.asarray(x)")
    assert f(jnp.ones((3, 2)), np.ones(3)).shape == (2,)
    assert f(jnp.ones((3, 2), jnp.bfloat16), jnp.ones(3)).shape == (2,)
    assert f([[1.0, 2.0]], [1.0]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "signature",
    [
        '(x: Float[Array, "n d"], w: Float[Array, " n"]) -> Float[Array, " n"]',
        '(x: Float[Array, "n d"], w: Float[Array, " n"]) -> Float[Array, ""]',
        '(x: Float[Array, "n d"], w: Float[Array, " n"]) -> Integer[Array, " d"]',
        '(x: Float[Array, "n d"], w: Float[Array, " d"]) -> Float[Array, " d"]',
        '(x: Float[Array, " n"], w: Float[Array, " n"]) -> Float[Array, " d"]',
        '(x: Integer[Array, "n d"], w: Float[Array, " n"]) -> Float[Array, " d"]',
    ],
)
def test_a_wrong_annotation_fails(checked, signature):
    with pytest.raises(TypeCheckError):
        checked(signature, "return w @ x")(jnp.ones((3, 2)), jnp.ones(3))


def test_a_wrong_call_meets_the_errors_of_the_function(checked):
    f = checked('(x: Float[Array, " n"]) -> Float[Array, ""]', 'raise ValueError("x must be floating [n]")')
    with pytest.raises(ValueError, match="must be floating"):
        f(jnp.ones((3, 2), int))


@pytest.mark.parametrize("function", functions())
def test_annotations_of_public_functions_are_known_and_have_shapes(function):
    module = sys.modules[function.__module__]
    assert module.__spec__.name.startswith(shapes.CHECKED)
    hints = typing.get_type_hints(function, vars(module), include_extras=True)  # else it would not be checked
    assert hints
    for name, hint in function.__annotations__.items():
        text = hint if isinstance(hint, str) else repr(hint)
        outside = re.sub(r"""\w+\[[\w. |]+, (["'])[^"']*\1\]|.*Callable\[.*""", "", text)
        assert not re.search(r"ArrayLike|jax\.Array|np\.ndarray|jaxlib|numpy", outside), f"{name}: {hint}"
