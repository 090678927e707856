"""TCL on CIFAR-10 by the protocol of the official code: `cifar100_tcl` on ten classes.

    tcl-jax --config=cifar10_tcl

The same settings, crop, flip and AutoAugment's policy for CIFAR among them, and the same differences: AutoAugment's
magnitudes and directions, `train.precision`, `evaluation.metrics`, the schedule by step, the probe's BatchNorm. One
more: inputs are divided by the deviation of the training images, (0.2470, 0.2435, 0.2616), where the official code has
(0.2023, 0.1994, 0.2010).

Needs one GPU or TPU for the whole run; `smoke:cifar10_tcl` tries it on a CPU. Not yet run to the end by us:
docs/reproduction.md has what was.
"""

from ml_collections import ConfigDict

from tcl_jax.config import load


def get_config() -> ConfigDict:
    config = load("cifar100_tcl")
    config.data.name = "cifar10"
    return config
