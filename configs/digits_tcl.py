"""TCL on the embedded digits: a complete run in about a minute on two CPU cores.

    tcl-jax --config=digits_tcl

1,437 training and 360 test images of 8x8 pixels that scikit-learn ships; nothing is downloaded. A narrow ResNet-18.
Expected: linear probe of about 0.99 top-1; docs/reproduction.md has the spread over seeds.
"""

from ml_collections import ConfigDict

from tcl_jax.config import defaults


def get_config() -> ConfigDict:
    config = defaults()
    config.data.name = "digits"
    config.augment.crop_padding = 1
    config.augment.flip = False  # a mirrored 2 is not a 2
    config.model.width = 8
    config.train.epochs = 60
    # With k1 = 5000 all projections first fall together and then part by class. A higher rate drives them so close
    # that a run this short does not see them part.
    config.train.learning_rate = 0.03
    config.train.warmup_epochs = 5
    config.validation.images = 100
    config.probe.epochs = 20
    config.checkpoint.every_epochs = 5
    return config
