"""TCL on CIFAR-10 with a Vision Transformer: ViT-Ti on patches of 4x4, 512 images = 1,024 views per step, 300 epochs.

    python main.py --config=configs/cifar10_tcl_vit.py

Needs one GPU or TPU for the whole run; `--config=smoke:cifar10_tcl_vit` tries it on a CPU. On 1,000 test images
kNN is 0.255 for the untrained encoder, 0.304 after the 240 steps of 4 epochs, and 0.370 after 16
(--config.train.epochs=16, 12 minutes on two cores). Not yet run to the end by us: no accuracy of it to quote.
docs/scaling.md has what a step needs on a TPU v5e.

A Transformer wants another optimizer than a ResNet. As we know it from DeiT (arXiv 2012.12877): AdamW, 0.0005 for 512
images, that is 0.00025 for 256, 300 epochs on a cosine, weight decay 0.05, stochastic depth of 0.1. Longer warm-up (20
epochs) and clipped gradients are as in ViT's own code. A ViT has no convolutions to know from that a shifted image is
the same: it wants more augmentation, here the views `simaug` of SupCon. Temperature, k1 and k2 are those of
configs/cifar100_tcl.py, found with a ResNet.
"""

from ml_collections import ConfigDict

from tcl_jax.config import load


def get_config() -> ConfigDict:
    config = load("cifar10_tcl")
    config.augment.views = ("simaug", "simaug")
    config.model.name = "vit_tiny"
    config.model.drop_path = 0.1
    config.train.batch_size = 512
    config.train.epochs = 300  # of 95 steps
    config.train.optimizer = "adamw"
    config.train.learning_rate = 0.00025
    config.train.learning_rate_scaling = "linear"
    config.train.warmup_epochs = 20
    config.train.weight_decay = 0.05
    config.train.decay = "kernels"
    config.train.clip_norm = 1.0
    config.validation.images = 1000
    config.probe.batch_size = 256
    config.checkpoint.every_epochs = 5
    return config
