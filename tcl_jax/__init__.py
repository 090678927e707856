"""Contrastive training of image encoders in JAX: Tuned Contrastive Learning and SupCon.

- `losses`: the losses as pure functions, which need nothing but JAX.
- `load_encoder`: the encoder of a run, or one that was exported, as an `Encoder`.
- `config`: the fields of an experiment with their defaults, and known experiments to start from.
- `UserError`, `RunFailed`: what is raised with one sentence: a mistake in a config, path or data set; a failed run.
"""

import importlib.util
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcl_jax import config, losses
    from tcl_jax.encoder.load import Encoder, load_encoder
    from tcl_jax.errors import RunFailed, UserError

__version__ = "0.1.0"
__all__ = ["Encoder", "RunFailed", "UserError", "config", "load_encoder", "losses"]

_HOMES = {
    "RunFailed": "tcl_jax.errors:RunFailed",
    "UserError": "tcl_jax.errors:UserError",
    "losses": "tcl_jax.losses:",
}
_OF_EXTRAS = {
    "config": "tcl_jax.config:",  # which says itself what it needs
    "Encoder": "tcl_jax.encoder.load:Encoder",
    "load_encoder": "tcl_jax.encoder.load:load_encoder",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first used, so that `from tcl_jax import losses` asks for nothing but JAX."""
    if name in _HOMES:
        return pkgutil.resolve_name(_HOMES[name])
    if name not in _OF_EXTRAS:
        raise AttributeError(f"module 'tcl_jax' has no attribute {name!r}")
    try:
        return pkgutil.resolve_name(_OF_EXTRAS[name])
    except ModuleNotFoundError as error:
        if name == "config":
            raise
        raise ImportError(
            f"tcl_jax.{name} needs {error.name}, which is not installed: pip install 'tcl_jax[encoder]'."
        ) from error


def __dir__() -> list[str]:
    """What help() and completion look at: names of an extra only where it is installed."""
    of_extras = _OF_EXTRAS if importlib.util.find_spec("flax") else ()
    return [*globals(), *_HOMES, *of_extras]
