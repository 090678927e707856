"""Augmentation on the device: image operations, and the policies and views made of them."""

from tcl_jax.augment import ops
from tcl_jax.augment.policies import POLICIES, Policy, check_policy, make_policy
from tcl_jax.augment.views import make_views
from tcl_jax.pixels import normalize

__all__ = ["POLICIES", "Policy", "check_policy", "make_policy", "make_views", "normalize", "ops"]
