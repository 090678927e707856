"""What `import tcl_jax` gives: names that are imported when they are first used."""

import pydoc
import subprocess
import sys

import pytest

import tcl_jax

# A machine on which JAX is installed and nothing else that the library may use.
JAX_ALONE = """
import sys
from importlib.metadata import packages_distributions

OTHERS = packages_distributions().keys() - {"jax", "jaxlib", "numpy", "scipy", "ml_dtypes", "opt_einsum", "tcl_jax"}


class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name in OTHERS else self.finder.find_spec(name, path, target)


sys.meta_path[:] = map(Without, sys.meta_path)
"""


def run(source):
    return subprocess.run(
        [sys.executable, "-c", JAX_ALONE + source], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_every_public_name_is_there_and_listed():
    assert set(tcl_jax.__all__) <= set(dir(tcl_jax))
    for name in tcl_jax.__all__:
        assert getattr(tcl_jax, name).__name__.rpartition(".")[2] == name
    with pytest.raises(AttributeError, match="no attribute 'loses'"):
        _ = tcl_jax.loses


def test_help_has_every_public_name():
    text = pydoc.render_doc(tcl_jax, renderer=pydoc.plaintext)
    assert all(name in text for name in tcl_jax.__all__)


def test_with_jax_alone_the_losses_work_and_help_lists_what_does():
    lines = run("""
import pydoc
import tcl_jax
print("jax" in sys.modules)
pydoc.render_doc(tcl_jax)
print([name for name in tcl_jax.__all__ if name in dir(tcl_jax)])
from tcl_jax import losses
print(losses.supcon_loss([[1.0, 0.0], [0.0, 1.0]], [0, 0]))
for ask in ("from tcl_jax import load_encoder", "tcl_jax.Encoder"):
    try:
        exec(ask)
    except ImportError as error:
        print(error)
""")
    assert lines[:3] == ["False", "['RunFailed', 'UserError', 'losses']", "0.0"]
    for name, sentence in zip(("load_encoder", "Encoder"), lines[3:], strict=True):
        assert sentence.startswith(f"tcl_jax.{name} needs ")
        assert sentence.endswith(", which is not installed: pip install 'tcl_jax[encoder]'.")
