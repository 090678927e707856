"""TCL on ImageNet-100 with a Vision Transformer: ViT-S/16 on 224x224 pixels, 512 images per step, 300 epochs.

    python main.py --config=configs/imagenet100_tcl_vit.py --config.data.data_dir=/data/imagenet

The data are those of configs/imagenet100_tcl.py. Optimizer, schedule, augmentation and depth are those of
configs/cifar10_tcl_vit.py. Made for eight TPU chips or GPUs. On one chip of 16 GB, --config.train.micro_batch_size=64:
the loss is that of all 1,024 views, and as a ViT has no BatchNorm, so is the whole training. docs/scaling.md has what a
step needs on a TPU v5e. `configs/smoke.py:imagenet100_tcl_vit` tries it on a CPU. Not yet run by us: no accuracy of our
own to quote.

A run that begins with timm's weights (docs/encoders.md) wants a tenth of the rate, and layers near the images less:
--config.model.init_from=vit_small.safetensors --config.train.learning_rate=0.000025 --config.train.layer_decay=0.75
"""

from ml_collections import ConfigDict

from tcl_jax.config import load


def get_config() -> ConfigDict:
    config = load("cifar10_tcl_vit")
    config.data.name = "imagenet100"
    config.data.image_size = 224
    config.model.name = "vit_small"
    config.model.stem = "imagenet"
    return config
