"""TCL on ImageNet-100: ResNet-50 on 224x224 pixels, 64 images = 128 views per step, 100 epochs.

    tcl-jax --config=imagenet100_tcl --config.data.data_dir=/data/imagenet

ImageNet (ILSVRC 2012) must lie there already, as train/<WordNet id>/*.JPEG and val/<WordNet id>/*.JPEG; other classes
than the 100 of the official list do no harm. The first start copies the files of those, some 14 GB, into the folder
imagenet100 beside them, and needs as much again for a while. To keep it elsewhere, give another data_dir and link
ImageNet's folder to downloads/manual in it. TensorFlow is not needed.

Needs one GPU or TPU, and 25 GB of free main memory to hold all of some 132,000 images; where there is less they are
read when they are needed (`data.streaming`). Not yet run by us: no accuracy of our own to quote.

Settings are the defaults of the official train.py, as in `cifar100_tcl`: a crop shifted by up to 4 of 224
pixels, flip, and AutoAugment's policy for CIFAR, which the official code has for ImageNet as well. What differs, beside
what differs there (AutoAugment's magnitudes and directions, `train.precision`, `evaluation.metrics`, schedule, probe):
- `model.stem`: 7x7 with stride 2 and max-pool, the usual one for large images. The official script builds the network
  for small images, 3x3 with stride 1, which is --config.model.stem=cifar; one of 7x7 with stride 1 is commented out.
  Neither has the max-pool, and both cost some 16 times as much.
- Images are scaled by their shorter side and cut square, where the script squeezes them square.
- Inputs are normalised by mean and deviation of the training images, where the script has 0.5 and 0.25.

Its other views are --config.augment.views="('simaug','simaug')".
"""

from ml_collections import ConfigDict

from tcl_jax.config import load


def get_config() -> ConfigDict:
    config = load("cifar100_tcl")
    config.data.name = "imagenet100"
    config.data.image_size = 224
    config.model.stem = "imagenet"
    return config
