"""Fine-tuning with few labels: a trained encoder and a classifier on it, end to end on ten images of each digit.

    tcl-jax --config=digits_tcl
    tcl-jax --config=digits_finetune

A minute for the first run, some seconds for the second. It begins with the encoder of the first, whose folder
`model.init_from` names, and trains all of it by cross-entropy at a lower rate than drawn weights want. That encoder has
seen all labels: docs/encoders.md has one that saw none, and what both are worth against drawn weights (0.99, 0.93 and
0.79 of the test images).
"""

from ml_collections import ConfigDict

from tcl_jax.config import load


def get_config() -> ConfigDict:
    config = load("digits_tcl")
    config.data.train_images_of_class = 10
    config.model.init_from = "runs/digits_tcl"
    config.loss.name = "cross_entropy"
    config.train.batch_size = 48
    config.train.epochs = 30
    config.train.learning_rate = 0.01
    config.train.warmup_epochs = 1
    config.validation.images = 0
    config.probe.batch_size = 48
    return config
