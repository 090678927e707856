"""Contrastive training of image encoders in JAX: Tuned Contrastive Learning and SupCon."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load_encoder", "losses"]

if TYPE_CHECKING:
    from tcl_jax import losses
    from tcl_jax.encoder.load import load_encoder


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first used, so that `from tcl_jax import losses` asks for nothing but JAX."""
    if name == "losses":
        return importlib.import_module("tcl_jax.losses")
    if name == "load_encoder":
        return importlib.import_module("tcl_jax.encoder.load").load_encoder
    raise AttributeError(f"module 'tcl_jax' has no attribute {name!r}")
