"""TCL on CIFAR-10: the settings of configs/cifar100_tcl.py on ten classes.

    python main.py --config=configs/cifar10_tcl.py

Needs one GPU or TPU for the whole run; `configs/smoke.py:cifar10_tcl` tries it on a CPU. Not yet run to the end by us:
docs/reproduction.md has what was.
"""

from ml_collections import ConfigDict

from configs import cifar100_tcl


def get_config() -> ConfigDict:
    config = cifar100_tcl.get_config()
    config.data.name = "cifar10"
    return config
