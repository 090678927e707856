"""The shapes and dtypes that the library's annotations name, checked by jaxtyping's import hook while the tests run.

The library names jaxtyping's types for type checkers alone and never imports it; here its modules are given them.
"""

import sys
from typing import Annotated, Any

import jax
import jaxtyping
import numpy as np
from beartype import beartype
from beartype.vale import Is

ROOMS = ("augment", "data", "encoder", "evaluate", "losses", "models", "pixels")
CHECKED = tuple(f"tcl_jax.{room}" for room in ROOMS)
NAMES = "ArrayLike Bool Float Float32 Int Int32 Integer PRNGKeyArray Real Shaped UInt8"
# Arrays of NumPy go where JAX's do, as far as shapes and dtypes are concerned.
TYPES = {name: getattr(jaxtyping, name) for name in NAMES.split()} | {"Array": jax.Array | np.ndarray}


def is_other(value):
    """Whether it is a list, or a parameter of flax.nnx: taken, too, as what NumPy and JAX make of it."""
    return isinstance(value, list | tuple) or (
        hasattr(value, "__jax_array__") and not isinstance(value, jax.Array)
    )


Other = Annotated[object, Is[is_other]]


def on_return(function):
    """Check arguments and result once there is a result: wrong arguments have met the function's own errors by then.

    jaxtyping asks for two checks of each call: before it, of the arguments, and after it, of arguments and result. Of
    them the second is made. Types without shapes are left to mypy.
    """
    hints = {
        name: hint if name == "return" else hint | Other
        for name, hint in function.__annotations__.items()
        if "jaxtyping" in repr(hint)
    }
    if function.__annotations__.get("return") is Any or not hints:
        return function
    function.__annotations__ = hints
    return beartype(function)


class Finder:
    """jaxtyping's finder, with its types among the names of each module."""

    def __init__(self, hook):
        self.hook = hook

    def find_spec(self, name, path=None, target=None):
        spec = self.hook.find_spec(name, path, target)
        if spec is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (vars(module).update(TYPES), execute(module))
        return spec


def check(modules=CHECKED):
    """From now on, calls of functions in these modules are checked; the modules are not imported yet."""
    assert not {name for name in sys.modules if name.startswith(modules)}
    manager = jaxtyping.install_import_hook(modules, "tests.shapes.on_return")
    sys.meta_path[sys.meta_path.index(manager.hook)] = Finder(manager.hook)
