"""TCL on ImageNet-100: ResNet-50 on 224x224 pixels, 64 images = 128 views per step, 100 epochs.

    python main.py --config=configs/imagenet100_tcl.py --config.data.data_dir=/data/imagenet

ImageNet (ILSVRC 2012) must lie there already, as train/<WordNet id>/*.JPEG and val/<WordNet id>/*.JPEG; other classes
than the 100 of the official list do no harm. The first start copies the files of those, some 14 GB, into the folder
imagenet100 beside them, and needs as much again for a while. To keep it elsewhere, give another data_dir and link
ImageNet's folder to downloads/manual in it. TensorFlow is not needed.

Needs one GPU or TPU, and 25 GB of free main memory to hold all of some 132,000 images; where there is less they are
read when they are needed (`data.streaming`). Not yet run by us: no accuracy of our own to quote.

Of the official code: loss, batch size, epochs, learning rate, momentum, weight decay, 224x224 pixels and the views,
which are one of its two choices (the other is AutoAugment). Ours: the stem for large images, where the published script
takes that for small ones; and images scaled by their shorter side and cut square, where it squeezes them square.
"""

from ml_collections import ConfigDict

from configs import cifar100_tcl


def get_config() -> ConfigDict:
    config = cifar100_tcl.get_config()
    config.data.name = "imagenet100"
    config.data.image_size = 224
    config.augment.views = ("simaug", "simaug")
    config.model.stem = "imagenet"
    return config
