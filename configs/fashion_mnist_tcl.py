"""TCL on FashionMNIST: ResNet-18, 256 images = 512 views per step, 50 epochs.

    python main.py --config=configs/fashion_mnist_tcl.py

Needs one GPU or TPU for the whole run; `configs/smoke.py:fashion_mnist_tcl` tries it on a CPU. Not yet run to the end
by us: docs/reproduction.md has what was.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    config = common.get_config()
    config.data.name = "fashion_mnist"
    config.augment.crop_padding = 3  # 4 pixels of 32 are 3 of 28
    config.train.batch_size = 256
    config.train.epochs = 50
    config.train.learning_rate = 0.05
    config.train.warmup_epochs = 5
    config.probe.batch_size = 256
    return config
