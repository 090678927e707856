"""TCL on CUB-200-2011, 200 species of birds: ResNet-50 on 224x224 pixels, 64 images = 128 views per step, 100 epochs.

    python main.py --config=configs/cub200_tcl.py

5,994 training and 5,794 test images. The first start downloads TFDS' caltech_birds2011 (1.2 GB) and prepares it, which
takes TensorFlow and OpenCV (`pip install -r requirements.txt opencv-python-headless`), used for that alone. Needs one
GPU or TPU, and 2.3 GB of free main memory to hold all images. Not yet run by us: no accuracy of our own to quote.

Of the official code: loss, batch size, epochs, learning rate, momentum, weight decay, 224x224 pixels and the views,
which are one of its two choices (the other is AutoAugment). Ours: the stem for large images, where the published script
takes that for small ones; and images scaled by their shorter side and cut square, where it squeezes them square.
"""

from ml_collections import ConfigDict

from configs import imagenet100_tcl


def get_config() -> ConfigDict:
    config = imagenet100_tcl.get_config()
    config.data.name = "caltech_birds2011"
    config.validation.images = 600
    return config
