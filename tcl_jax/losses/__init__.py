"""Contrastive losses as pure functions; they need nothing but JAX.

>>> from tcl_jax import losses
>>> losses.tcl_loss, losses.supcon_loss, losses.ntxent_loss, losses.diagnostics  # doctest: +SKIP
>>> losses.clip_loss, losses.siglip_loss, losses.micro_batched  # doctest: +SKIP

The modules in the order in which they build on each other:
- pairs, sums: which rows form pairs and how similar they are; sums of exponentials of any size.
- tiles, batch: all pairs, tile by tile; the rows of a loss and the passes over their pairs, on all devices.
- family: what the engine must know of one loss. softmax, one_positive, hard_negatives, sigmoid: its members.
- engine: the loss of any member, with its cotangents.
- arguments: what callers give, checked.
- contrastive, towers: the losses. diagnose: what drives them.
- gradient_caching: rows of an encoder whose activations for the whole batch do not fit.
"""

from tcl_jax.losses.contrastive import ntxent_loss, supcon_loss, tcl_loss
from tcl_jax.losses.diagnose import Diagnostics, diagnostics
from tcl_jax.losses.engine import References
from tcl_jax.losses.gradient_caching import micro_batched
from tcl_jax.losses.towers import clip_loss, siglip_loss

__all__ = [
    "Diagnostics",
    "References",
    "clip_loss",
    "diagnostics",
    "micro_batched",
    "ntxent_loss",
    "siglip_loss",
    "supcon_loss",
    "tcl_loss",
]
