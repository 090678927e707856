"""TCL on FashionMNIST by the protocol of the official code: `cifar100_tcl` with crop and flip alone.

    tcl-jax --config=fashion_mnist_tcl

The script has no AutoAugment for FashionMNIST. A crop is shifted by up to 4 of 28 pixels. The network is its default,
ResNet-50; which one the authors took for FashionMNIST its repository does not say. What differs: `train.precision`,
`evaluation.metrics`, the schedule and the probe, as in `cifar100_tcl`; and inputs are normalised by mean and
deviation of the training images, where the script has 0.5 and 0.5.

Needs one GPU or TPU for the whole run; `smoke:fashion_mnist_tcl` tries it on a CPU. Not yet run to the end
by us: docs/reproduction.md has what was.
"""

from ml_collections import ConfigDict

from tcl_jax.config import load


def get_config() -> ConfigDict:
    config = load("cifar100_tcl")
    config.data.name = "fashion_mnist"
    config.augment.views = ("crop_flip", "crop_flip")
    return config
