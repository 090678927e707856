"""TCL on CUB-200-2011, 200 species of birds: ResNet-50 on 224x224 pixels, 64 images = 128 views per step, 100 epochs.

    tcl-jax --config=cub200_tcl

5,994 training and 5,794 test images. The first start downloads TFDS' caltech_birds2011 (1.2 GB) and prepares it, which
takes TensorFlow and OpenCV (`pip install tensorflow-cpu opencv-python-headless`), used for that alone. Needs one
GPU or TPU, and 2.3 GB of free main memory to hold all images. Not yet run by us: no accuracy of our own to quote.

Settings are those of `imagenet100_tcl`, as in the official train.py, which reads CUB-200 although its command
line does not list it. What differs is the same (AutoAugment's magnitudes and directions, `model.stem`,
`train.precision`, `evaluation.metrics`, schedule, probe, squares cut and not squeezed); and inputs are normalised by
mean and deviation of the training images, where the script has ImageNet's.
"""

from ml_collections import ConfigDict

from tcl_jax.config import load


def get_config() -> ConfigDict:
    config = load("imagenet100_tcl")
    config.data.name = "caltech_birds2011"
    return config
