"""TCL on CIFAR-100 by the protocol of the official code: ResNet-50, 64 images = 128 views per step, 100 epochs.

    tcl-jax --config=cifar100_tcl

Needs one GPU or TPU. The first start downloads CIFAR-100 (161 MB) and prepares it, which takes
`pip install tensorflow-cpu` (TensorFlow is used for that alone). Not yet run to the end by us: no accuracy of
our own to quote.

Settings are the defaults of the official train.py at commit 3706336, with which its README trains: crop, flip and
AutoAugment's policy for CIFAR, all 50,000 images, the last epoch. tests/configs/test_official.py compares every field.
What differs:
- AutoAugment is torchvision's: the same 25 sub-policies, but other magnitudes and directions. The official code draws a
  magnitude within a bin and gives each level one direction; docs/reproduction.md has each operation of both.
- `train.precision`: bfloat16 on a GPU or TPU; --config.train.precision=float32 is the official one.
- The rate falls by step, not by epoch. Inputs are normalised by mean and deviation of the training images; those of the
  official code are near them.
- The linear probe learns from standardised and scaled features, with its own weight decay. It keeps BatchNorm's
  statistics, which drift in the official one, and drops the last, smaller batch.
- `evaluation.metrics`: more than the linear probe.

Nothing is held out: to watch a metric while training, --config.validation.images=1000, which then trains on the others.
Other losses: --config.loss.name=supcon, with a --workdir of its own.
"""

from ml_collections import ConfigDict

from tcl_jax.config import defaults


def get_config() -> ConfigDict:
    config = defaults()
    config.data.name = "cifar100"
    config.augment.views = ("autoaug_cifar", "autoaug_cifar")
    config.augment.crop_padding = 4
    config.augment.flip = True
    config.model.name = "resnet50"
    config.loss.temperature = 0.1
    config.loss.k1 = 5000.0
    config.loss.k2 = 1.0
    config.train.batch_size = 64
    config.train.epochs = 100
    config.train.learning_rate = 0.1
    config.train.momentum = 0.9
    config.train.weight_decay = 1e-4
    config.validation.images = 0
    config.probe.epochs = 50
    config.probe.learning_rate = 0.5
    config.probe.batch_size = 64
    return config
