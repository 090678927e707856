"""The config of an experiment: every field once, with its default and what it does; and the experiments by name.

A file of your own has a function `get_config` and starts from one of them, or from `defaults()`:

    from tcl_jax.config import load

    def get_config():
        config = load("digits_tcl")
        config.train.epochs = 20
        return config
"""

import difflib
import os
import pathlib
import re
import runpy
import traceback

try:
    from ml_collections import ConfigDict
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"tcl_jax.config needs {error.name}, which is not installed: pip install 'tcl_jax[train]'.",
        name=error.name,
    ) from error

from tcl_jax.errors import UserError, in_short
from tcl_jax.fields import flat_items
from tcl_jax.files import packaged


def defaults() -> ConfigDict:
    """A config of defaults for small colour images; an experiment overrides what it needs.

    Comments above a field and behind it are its description, which --mode=fields prints.
    """
    config = ConfigDict()
    config.seed = 0  # of initial values, order of examples and augmentation

    config.data = ConfigDict()
    # "digits" (embedded), "image_folder" (your own), "imagenet100", or a TFDS data set of labelled images.
    # Or "module:attribute", as all parts may be: one of your own. docs/extending.md has an example of each.
    config.data.name = "digits"
    # Folder of prepared TFDS data; "" is TFDS' default, ~/tensorflow_datasets. image_folder: that of train/.
    config.data.data_dir = ""
    config.data.train_split = "train"  # TFDS slicing is allowed: "train[:90%]"
    # Labels of the classes that are trained on, as "0:100"; "": all. The test images are then those of the other
    # classes, to be retrieved among themselves, so that both splits may be "train+test".
    config.data.train_classes = ""
    # Images of every class that are trained on, as where few are labelled; 0: all.
    config.data.train_images_of_class = 0
    # f >= 1: class i of 0 to C - 1 keeps floor(n f^(-i / (C - 1))) training images, at least one (long-tailed data); n
    # is train_images_of_class, or the number of images of the smallest class.
    config.data.imbalance = 1.0
    # Share of the training labels that are made wrong, each another class at random. All that learns has these labels,
    # the linear probe and the neighbours of kNN among it; what is judged, held-out and test images, has its own.
    config.data.label_noise = 0.0
    # Decides which images and wrong labels these are; `seed` does not, so that runs of a sweep share them.
    config.data.subset_seed = 0
    # Every batch is of batch_size / images_per_class classes, as many images of each; 0: of images in random order.
    # A class of fewer images leaves rows without an image, which do not count.
    config.data.images_per_class = 0
    config.data.test_split = "test"  # "": none, and the encoder is not evaluated
    # Other data to evaluate on, as where the training images are without a class; a name of "": test_split and the
    # training images. The encoder is frozen: this train_split trains the linear probe, and kNN votes among it.
    # Its images are scaled, and made grey or colour, as those of training are.
    config.data.evaluate_on = ConfigDict()
    config.data.evaluate_on.name = ""
    config.data.evaluate_on.data_dir = ""  # "": data.data_dir
    config.data.evaluate_on.train_split = "train"
    config.data.evaluate_on.test_split = "test"
    # Pixels: every image is scaled until its shorter side has this length, and cut square; 0: all have one size.
    config.data.image_size = 0
    # Whether images are read when they are needed: "yes", "no", or "auto" for those that do not fit in memory.
    config.data.streaming = "auto"
    # image_folder only: leave damaged images out instead of refusing them.
    config.data.skip_unreadable = False

    config.augment = ConfigDict()
    # One policy per view, your own "module:attribute" or of these: "none", "crop_flip", "simaug", "autoaug_cifar",
    # "autoaug_imagenet" and "randaug(n,m)", as in "randaug(2,9)": n operations of magnitude m, 0 to 30.
    # tcl_jax/augment/policies.py says what each does.
    config.augment.views = ("crop_flip", "crop_flip")
    config.augment.crop_padding = 4  # pixels by which crop_flip, autoaug_cifar and randaug may shift
    config.augment.flip = True  # whether policies mirror left to right (all but "none" do)

    config.model = ConfigDict()
    # resnet18, 34, 50, 101 or 152; wide_resnet50_2 or wide_resnet101_2; vit_tiny, vit_small or vit_base, with _gap for
    # the mean over patches; convnext_atto, femto, pico, nano or tiny.
    config.model.name = "resnet18"
    # "cifar", for small images: 3x3 stride 1, patches of 4x4 (ViT), 1x1 stride 1 (ConvNeXt); "imagenet": 7x7 stride 2
    # and max-pool, 16x16, 4x4 stride 4.
    config.model.stem = "cifar"
    # Channels of the first stage; of each head (ViT); 64ths of the published channels (ConvNeXt). 64 is published.
    config.model.width = 64
    # Encoder to begin with: the workdir of a run (its latest checkpoint), encoder.safetensors of --mode=export,
    # "digits_tcl" or "fashion_mnist_tcl" (they come with the package), or torchvision's or timm's weights saved by
    # safetensors.torch.save_file; "": its weights are drawn. Images are normalised by the mean and deviation with which
    # it was trained, or those of the data where the file does not say.
    config.model.init_from = ""
    config.model.projection_dim = 128  # d, length of a projection
    config.model.sync_batch_norm = True  # statistics of the global batch; False: of each device
    # Residual blocks are computed again in the backward pass, not kept: less memory.
    config.model.remat = False
    config.model.dropout = 0.0  # ViT and ConvNeXt: its probability
    config.model.drop_path = 0.0  # ViT and ConvNeXt: probability of stochastic depth at the last block

    config.loss = ConfigDict()
    config.loss.name = "tcl"  # tcl, supcon, ntxent; cross_entropy trains a classifier end to end
    config.loss.labels = "class"  # positives share a "class"; or an "image": training without class labels
    # "balanced": an anchor weighs n / (C n_c) in the mean, where n_c of the n training images, those held out among
    # them, are of its class, one of C; "none": all weigh 1.
    config.loss.class_weights = "none"
    config.loss.temperature = 0.1  # similarities are divided by it
    config.loss.k1 = 5000.0  # tcl only: weight of hard positives
    config.loss.k2 = 1.0  # tcl only: weight of hard negatives
    # Whether the temperature is learned, from loss.temperature on and between 0.01 and 1: its logarithm, by the
    # optimizer and at the rate of the parameters, without weight decay.
    config.loss.learn_temperature = False
    # A linear classifier of the encoder's features, trained along by its cross-entropy; its accuracy is in the curve.
    # 0: the encoder does not learn from it; above 0: that weight of its cross-entropy beside the loss; -1: none.
    config.loss.classifier_weight = -1.0
    # Projections of past batches that every anchor meets beside those of its own, a multiple of batch_size * views; 0:
    # none. They count from when the queue is full.
    config.loss.queue_size = 0
    # Of the moving average of the weights that makes the projections of the queue, as 0.999; 0: the weights make them.
    config.loss.momentum_encoder = 0.0

    config.train = ConfigDict()
    config.train.batch_size = 64  # images per step over all devices; the loss sees batch_size * views rows
    # Images per forward and backward pass over all devices, a divisor of batch_size; 0: the whole batch at once. Loss
    # and gradient are those of the whole batch, BatchNorm sees one micro-batch.
    config.train.micro_batch_size = 0
    config.train.epochs = 100  # passes over the training images
    config.train.learning_rate = 0.1  # peak
    # "none"; "linear": learning_rate is for 256 images per step, and the peak learning_rate * batch_size / 256;
    # "sqrt": learning_rate * sqrt(batch_size / 256).
    config.train.learning_rate_scaling = "none"
    config.train.warmup_epochs = 0  # of linear rise from 0
    # Then "cosine" or "linear", which fall to a thousandth; "constant"; "step(0.1,700,800)", times 0.1 once 700 epochs
    # have passed and again after 800; or your own "module:attribute".
    config.train.schedule = "cosine"
    # "sgd"; "adamw"; "lars": each layer's step in proportion to the size of its weights.
    config.train.optimizer = "sgd"
    config.train.momentum = 0.9  # of sgd and lars; beta_1 of adamw
    config.train.weight_decay = 1e-4  # times the weights, added to the gradient; of adamw apart from it
    # Which parameters decay: "all"; "kernels": not biases, nor scales, tokens and embeddings.
    config.train.decay = "all"
    # Gradients whose norm over all weights is larger are scaled to this norm; 0: none are.
    config.train.clip_norm = 0.0
    # The rate of layer i of L of the encoder is learning_rate * layer_decay^(L - i), as where trained weights are
    # trained further; 1: all have one rate. Layer 0 is the stem, the others are blocks; the head has learning_rate.
    config.train.layer_decay = 1.0
    # Of the moving average of the weights that is evaluated, as 0.999; 0: the weights.
    config.train.ema_decay = 0.0
    config.train.precision = "auto"  # float32, bfloat16; auto: bfloat16 on accelerators, float32 on CPU
    # A step whose loss or gradient is not finite: "stop" ends the run, "skip" leaves the step out and counts it.
    config.train.not_finite = "stop"

    config.validation = ConfigDict()
    # Training images that contrastive training does not see. Their metric is taken with every checkpoint of whole
    # epochs and decides which is the best; 0: neither.
    config.validation.images = 1000
    config.validation.metric = "knn"  # of encoder features, the higher the better

    config.evaluation = ConfigDict()
    # After training, on all test images; also "retrieval" and "few_labels", which stand for several metrics.
    config.evaluation.metrics = ("linear_probe", "logistic_regression", "knn")
    # Other data, whose test split is to be distinguished from the own one by its distance from the training images
    # (adds the metric outlier_auroc): scaled, and made grey or colour, as training images are; labels do not matter.
    config.evaluation.outliers = ConfigDict()
    config.evaluation.outliers.name = ""  # "": none
    config.evaluation.outliers.data_dir = ""  # "": data.data_dir
    config.evaluation.outliers.test_split = "test"

    config.probe = ConfigDict()
    config.probe.epochs = 50  # of training the linear probe
    config.probe.learning_rate = 0.5  # peak; falls on a cosine to a thousandth
    config.probe.batch_size = 64  # images per step over all devices

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = 1  # epochs from one checkpoint to the next

    config.log = ConfigDict()
    config.log.every_steps = 10  # steps per record of metrics.jsonl
    config.log.to = ("tensorboard",)  # where records go beside metrics.jsonl; () for nowhere
    return config.lock()  # a mistyped field in an experiment is an error, not a new field


def load(name: str) -> ConfigDict:
    """The config of an experiment: of its name, as "digits_tcl" or "smoke:cifar10_tcl", or of a Python file.

    Args:
      name: what --config takes. A word after the colon is the argument of the file's `get_config`.

    Raises:
      UserError: no such experiment or file, the file cannot be loaded, or its config lacks a field.

    >>> load("digits_tcl").model.width
    8
    """
    word, _, argument = name.partition(":")
    path = str(_find(word))
    try:
        get_config = runpy.run_path(path)["get_config"]
        config = get_config(argument) if argument else get_config()
        missing = sorted(dict(flat_items(defaults())).keys() - dict(flat_items(config)).keys())
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever a mistake in the file raises
        inside = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        place = f" in line {inside[-1]}" if inside else ""
        raise UserError(
            f"The config file '{path}' cannot be loaded ({in_short(error)}{place}): correct it."
        ) from error
    if missing:
        raise UserError(
            f"The config file '{path}' lacks {missing[0]}: begin with defaults() of tcl_jax.config."
        )
    return config


def known() -> list[str]:
    """Names of the experiments that come with the package; "smoke" and "protocol" make further ones.

    >>> "digits_tcl" in known()
    True
    """
    return sorted(path.stem for path in packaged("configs").glob("[a-z]*_*.py"))


def _find(word: str) -> pathlib.Path:
    """The file that an experiment's name or a path means.

    Raises:
      UserError: there is none.
    """
    path, ours = pathlib.Path(os.path.expanduser(word)), packaged("configs") / f"{word}.py"
    if re.fullmatch(r"[a-z]\w*", word) and ours.is_file():
        return ours
    if path.is_file():
        return path
    own = [f"{word}.py"] if pathlib.Path(f"{word}.py").is_file() else []
    same = [path.stem] if path.stem in known() else []
    near = own or same or difflib.get_close_matches(path.stem, known(), n=3) or [*known(), "smoke:NAME"]
    given = f"config file '{os.path.abspath(path)}'" if path.suffix else f"experiment '{word}'"
    raise UserError(f"The {given} does not exist: give {', '.join(near)} or a Python file of your own.")
