"""TCL on CIFAR-100 with the settings of the official README: ResNet-50, 64 images = 128 views per step, 100 epochs.

    python main.py --config=configs/cifar100_tcl.py

Needs one GPU or TPU. The first start downloads CIFAR-100 (161 MB) and prepares it, which takes
`pip install -r requirements.txt` (with TensorFlow, used for that alone). Not yet run to the end by us: no accuracy of
our own to quote. The official code augments with AutoAugment; here it is the crop and flip around it.

Other losses: --config.loss.name=supcon, with a --workdir of its own.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    config = common.get_config()
    config.data.name = "cifar100"
    config.model.name = "resnet50"
    config.loss.temperature = 0.1
    config.loss.k1 = 5000.0
    config.loss.k2 = 1.0
    config.train.batch_size = 64
    config.train.epochs = 100
    config.train.learning_rate = 0.1
    config.train.momentum = 0.9
    config.train.weight_decay = 1e-4
    config.probe.epochs = 50
    config.probe.learning_rate = 0.5
    return config
