"""Contrastive losses as pure functions; they need nothing but JAX.

>>> from tcl_jax import losses
>>> losses.tcl_loss, losses.supcon_loss, losses.ntxent_loss, losses.diagnostics  # doctest: +SKIP
"""

from tcl_jax.losses.contrastive import ntxent_loss, supcon_loss, tcl_loss
from tcl_jax.losses.diagnose import Diagnostics, diagnostics

__all__ = ["Diagnostics", "diagnostics", "ntxent_loss", "supcon_loss", "tcl_loss"]
