"""Contrastive losses as pure functions; they need nothing but JAX.

>>> from tcl_jax import losses
>>> losses.tcl_loss, losses.supcon_loss, losses.ntxent_loss  # doctest: +SKIP
"""

from tcl_jax.losses.contrastive import ntxent_loss, supcon_loss, tcl_loss

__all__ = ["ntxent_loss", "supcon_loss", "tcl_loss"]
