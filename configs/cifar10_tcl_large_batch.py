"""TCL on CIFAR-10 with large batches: ResNet-50, 4,096 images = 8,192 views per step, LARS, 1,000 epochs.

    tcl-jax --config=cifar10_tcl_large_batch

Made for one GPU of 40 GB or more, or a TPU: 256 images = 512 views are in the network at a time, and the loss sees all
8,192. BatchNorm sees those 512. Where there is more memory, a larger `train.micro_batch_size` is faster. On several
devices it counts the images of all of them. `smoke:cifar10_tcl_large_batch` tries it on a CPU.

Not yet run by us: neither accuracy nor rate nor the memory on a GPU has been measured. By count, autodiff keeps at most
42 MB of each view in bfloat16, 22 GB of 512.

As we know them from SimCLR (arXiv 2002.05709): LARS with momentum 0.9, a learning rate of 0.3 for 256 images that grows
linearly with the batch (4.8 here), 10 epochs of warm-up, weight decay 1e-6 on kernels alone; batches of 4,096 images
and 1,000 epochs it has on CIFAR-10 too, where it tunes the learning rate anew. SupCon (arXiv 2004.11362) warms up for
10 epochs as well, and its 1,000 epochs on CIFAR and its views `simaug` are the ones here. Temperature, k1 and k2 are
those of `cifar100_tcl`, found with 64 images. The moving average, over some 100 steps (9 epochs), is our own.
"""

from ml_collections import ConfigDict

from tcl_jax.config import load


def get_config() -> ConfigDict:
    config = load("cifar10_tcl")
    config.augment.views = ("simaug", "simaug")
    config.train.batch_size = 4096
    config.train.micro_batch_size = 256
    config.train.epochs = 1000  # of 11 steps
    config.train.optimizer = "lars"
    config.train.learning_rate = 0.3
    config.train.learning_rate_scaling = "linear"
    config.train.warmup_epochs = 10
    config.train.weight_decay = 1e-6
    config.train.decay = "kernels"
    config.train.ema_decay = 0.99
    config.validation.images = 1000
    config.checkpoint.every_epochs = 10
    return config
