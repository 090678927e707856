"""TCL on your own images: ResNet-18, 64 images = 128 views per step, 100 epochs.

    tcl-jax --config=image_folder_tcl --config.data.data_dir=/data/flowers

expects the images of each class in a folder of its own, named after the class:

    /data/flowers/train/<class>/...     to train on
    /data/flowers/test/<class>/...      to judge the encoder by; val/ does as well

Every kind of image that Pillow reads with 8 bits per channel counts (.jpg, .png, .webp, .bmp, .tiff, .gif and others,
by the name's end; of several frames or pages the first), at any depth within the folder of its class. Other files are
left out, and one line says how many; hidden ones do not count.

Without a test folder, take a part of train/: --config.data.train_split='train[:80%]' and
--config.data.test_split='train[80%:]'. The images are in a random order that their names fix, so that a part
holds about its share of each class, but perhaps none of a small one: a fifth misses a class of 10 images in one of 9
cases, one of 50 in one of 70,000.

Images without labels are in /data/flowers/train/ itself, or in /data/flowers itself where there is no train/. They are
trained on by a loss that needs no labels, and without a test split:

    tcl-jax --config=image_folder_tcl --config.data.data_dir=/data/flowers \\
        --config.loss.name=ntxent --config.loss.labels=image --config.data.test_split= --config.validation.images=0

An image that a camera noted to be turned or mirrored (EXIF) is turned upright first; torchvision leaves it as it is.
Every image is scaled until its shorter side has 128 pixels (PIL's bilinear filter, with antialias), and cut square;
--config.data.image_size=224 gives more detail at three times the cost, 0 takes images that have one size already. Grey
images become colour where others are in colour.

Needs one GPU or TPU for more than some thousand images. The settings are ours, a place to start from; nothing has been
measured with them. A set of fewer than some 2,000 images wants a smaller validation.images.
"""

from ml_collections import ConfigDict

from tcl_jax.config import defaults


def get_config() -> ConfigDict:
    config = defaults()
    config.data.name = "image_folder"
    config.data.image_size = 128
    config.augment.views = ("simaug", "simaug")
    config.model.stem = "imagenet"
    config.train.learning_rate = 0.05
    config.train.warmup_epochs = 5
    config.validation.images = 200
    return config
