"""Contrastive training of image encoders in JAX: Tuned Contrastive Learning and SupCon."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["losses"]

if TYPE_CHECKING:
    from tcl_jax import losses


def __getattr__(name: str) -> Any:
    """Import a room when it is first used, so that `from tcl_jax import losses` asks for nothing but JAX."""
    if name in __all__:
        return importlib.import_module(f"tcl_jax.{name}")
    raise AttributeError(f"module 'tcl_jax' has no attribute {name!r}")
