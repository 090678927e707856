"""Fine-tuning with few labels: a trained encoder and a classifier on it, end to end on ten images of each digit.

    python main.py --config=configs/digits_tcl.py
    python main.py --config=configs/digits_finetune.py

A minute for the first run, some seconds for the second. It begins with the encoder of the first, whose folder
`model.init_from` names, and trains all of it by cross-entropy at a lower rate than drawn weights want. That encoder has
seen all labels: docs/encoders.md has one that saw none, and what both are worth against drawn weights (0.99, 0.93 and
0.79 of the test images).
"""

from ml_collections import ConfigDict

from configs import digits_tcl


def get_config() -> ConfigDict:
    config = digits_tcl.get_config()
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
