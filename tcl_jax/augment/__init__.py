"""Augmentation on the device: image operations, and the policies and views made of them."""

from tcl_jax.augment.crop_flip import crop_flip
from tcl_jax.augment.policies import POLICY_NAMES, Policy, make_policy
from tcl_jax.augment.simaug import simaug
from tcl_jax.augment.views import make_views, normalize

__all__ = ["POLICY_NAMES", "Policy", "crop_flip", "make_policy", "make_views", "normalize", "simaug"]
