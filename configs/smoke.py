"""Any experiment made small: a narrow ResNet-18 or ViT, a part of the data and few steps, for tests and first tries.

    tcl-jax --config=smoke:cifar10_tcl --config.data.data_dir=/data/tfds

A minute or two on two CPU cores. Its accuracies show whether the chain works and learns, not how good the method is.
"""

from ml_collections import ConfigDict

from tcl_jax.config import known, load
from tcl_jax.errors import UserError


def get_config(experiment: str = "") -> ConfigDict:
    """The config of an experiment, shrunk.

    Raises:
      UserError: there is no such experiment.
    """
    if experiment not in known():
        raise UserError(
            f"--config names the experiment '{experiment}' to shrink, expected one of {', '.join(known())}."
        )
    config = load(experiment)
    config.data.train_split = "train[:4096]"
    config.data.test_split = "test[:1000]"
    of_vit = config.model.name.startswith("vit_")
    config.model.name = "vit_tiny" if of_vit else "resnet18"
    config.model.width = 16 if of_vit else 8
    config.train.batch_size = 64
    if config.train.micro_batch_size:
        config.train.micro_batch_size = 16
    config.train.epochs = 4
    config.train.warmup_epochs = 1
    # So few steps do not see projections part again that a high rate has driven together.
    config.train.learning_rate = {"lars": 1.0, "adamw": 0.001}.get(config.train.optimizer, 0.03)
    config.train.learning_rate_scaling = "none"
    config.validation.images = 256
    config.probe.epochs = 4
    config.probe.batch_size = 256
    return config
