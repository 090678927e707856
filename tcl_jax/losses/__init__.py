"""Contrastive losses as pure functions; they need nothing but JAX.

>>> from tcl_jax import losses
>>> losses.tcl_loss, losses.supcon_loss, losses.ntxent_loss, losses.diagnostics  # doctest: +SKIP

The modules in the order in which they build on each other:
- arguments: what callers give, checked.
- pairs, tiles: which rows form pairs and how similar they are; all n x n pairs, tile by tile.
- statistics, gradient: what one pass over the pairs collects for each anchor; the gradient from that.
- batch, engine: the rows of a loss and the passes over them; one loss for all, with its cotangents.
- contrastive, diagnose: the three losses, and diagnostics of what drives them.
- gradient_caching: rows of an encoder whose activations for the whole batch do not fit.
"""

from tcl_jax.losses.contrastive import ntxent_loss, supcon_loss, tcl_loss
from tcl_jax.losses.diagnose import Diagnostics, diagnostics
from tcl_jax.losses.gradient_caching import micro_batched

__all__ = ["Diagnostics", "diagnostics", "micro_batched", "ntxent_loss", "supcon_loss", "tcl_loss"]
