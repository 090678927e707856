"""The protocol of docs/reproduction.md: one network, length, augmentation and batch for every method, by data set.

    tcl-jax --config=protocol:cifar10_resnet18
    python -m benchmarks.accuracy --study=cifar10_reduced       # all methods, three seeds

<data>_<size>: fashion_mnist or cifar10; resnet18 or resnet50 for one GPU, not yet run to the end by us; reduced for two
CPU cores, about an hour for all methods and seeds, whose figures docs/reproduction.md has.
"""

from ml_collections import ConfigDict

from tcl_jax.config import defaults
from tcl_jax.errors import UserError

_DATA = ("fashion_mnist", "cifar10")
_SIZES = ("resnet18", "resnet50", "reduced")


def get_config(name: str = "") -> ConfigDict:
    """The config of <data>_<size>, with TCL; benchmarks/studies.py has what the other methods change.

    Raises:
      UserError: there is no such protocol.
    """
    data, _, size = name.rpartition("_")
    if data not in _DATA or size not in _SIZES:
        known = ", ".join(f"{data}_{size}" for data in _DATA for size in _SIZES)
        raise UserError(f"--config names the protocol '{name}', expected one of {known}.")
    config = defaults()
    config.data.name = data
    config.augment.views = ("simaug", "simaug")  # NT-Xent learns little from less, and all have the same
    if size == "reduced":
        return _reduced(config)
    config.model.name = size
    config.train.batch_size = 256
    config.train.epochs = 200
    config.train.learning_rate = 0.05
    config.train.warmup_epochs = 10
    config.probe.batch_size = 256
    config.checkpoint.every_epochs = 10
    return config


def _reduced(config: ConfigDict) -> ConfigDict:
    config.data.train_split = "train[:6000]"
    config.model.width = 8
    config.train.batch_size = 64
    config.train.epochs = 8
    config.train.learning_rate = 0.05
    config.train.warmup_epochs = 1
    config.validation.images = 500
    config.probe.epochs = 5
    config.probe.learning_rate = 0.1
    config.probe.batch_size = 256
    config.checkpoint.every_epochs = 2
    return config
