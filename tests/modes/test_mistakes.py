"""A mistake in a config is one clear sentence, before anything is written or compiled."""

import pytest
from flax import linen as nn

from configs import digits_tcl
from tcl_jax.errors import UserError
from tcl_jax.experiment.build import build_experiment
from tcl_jax.experiment.parts import make_parts
from tcl_jax.modes import train
from tcl_jax.parallel import make_mesh
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.objective import Loss

NAN, INF = float("nan"), float("inf")

# On eight devices. Every field that can be wrong, with what the sentence must say.
MISTAKES = [
    ("data.name", "dgits", "data.name is 'dgits'.*digits"),
    ("data.name", "mnist", "'mnist' is not prepared in .*pip install"),
    (
        "data.train_split",
        "training",
        "data.train_split is 'training'.* which has train",
    ),
    ("data.train_split", "train[:0]", "train"),
    ("data.test_split", "train[", "data.test_split is 'train\\['"),
    ("data.images_per_class", -2, "data.images_per_class is -2, expected 2 to 65536, or 0 for none"),
    ("data.images_per_class", 1, "data.images_per_class is 1, expected 2 to 65536, or 0 for none"),
    ("data.images_per_class", 5, "data.images_per_class is 5, which does not divide train.batch_size 64"),
    (
        "data.images_per_class",
        4,
        "data.images_per_class is 4, so that train.batch_size 64 holds 16 classes, but there are images of 10",
    ),
    ("data.train_classes", "5", "data.train_classes is '5', expected the labels of classes as first:end"),
    (
        "data.train_classes",
        "0:-5",
        "data.train_classes is '0:-5', expected the labels of classes as first:end",
    ),
    ("data.train_classes", "5:11", "data.train_classes is '5:11', expected classes of the 10 .* within 0:10"),
    ("data.train_classes", "7:7", "data.train_classes is '7:7', expected classes of the 10 .* within 0:10"),
    ("data.train_classes", "0:10", "'0:10', but no image of data.test_split is of the other classes"),
    (
        "data.train_images_of_class",
        139,
        "data.train_images_of_class is 139, but class '8' has 138 training images, expected 139 or more",
    ),
    ("data.train_images_of_class", -1, "data.train_images_of_class is -1, expected 0 or more"),
    ("data.imbalance", 0.5, "data.imbalance is 0.5, expected 1 or more"),
    ("data.imbalance", INF, "data.imbalance is inf, expected 1 or more .a finite"),
    ("data.label_noise", 1.5, "data.label_noise is 1.5, expected 0 to 1"),
    ("data.label_noise", -0.2, "data.label_noise is -0.2, expected 0 to 1"),
    ("data.subset_seed", -1, "data.subset_seed is -1, expected 0 to 4294967295"),
    ("loss.class_weights", "inverse", "loss.class_weights is 'inverse', expected one of none, balanced"),
    ("augment.views", ("crop",), "augment.views is 'crop', expected one of none, crop_flip"),
    ("augment.views", (), "names 0 views"),
    ("augment.crop_padding", -1, "augment.crop_padding is -1"),
    (
        "model.name",
        "resnet19",
        "model.name is 'resnet19', expected one of resnet18.*or 'module:attribute'",
    ),
    ("model.stem", "mnist", "model.stem is 'mnist', expected one of cifar, imagenet"),
    ("model.stem", "imagenet", "8x8 pixels, too few for ResNet with model.stem 'imagenet'"),
    ("model.width", 0, "model.width is 0"),
    ("model.projection_dim", 0, "model.projection_dim is 0"),
    ("model.init_from", "none.safetensors", "none.safetensors cannot be read"),
    (
        "model.init_from",
        "runs/none",
        "model.init_from is runs/none, which does not hold a run .*/runs/none.: train that",
    ),
    ("loss.name", "triplet", "loss.name is 'triplet', expected one of tcl.*'module:attribute'"),
    ("loss.labels", "none", "loss.labels is 'none'"),
    ("loss.temperature", 0.0, "loss.temperature is 0.0, expected a number above 0"),
    ("loss.temperature", -0.1, "loss.temperature is -0.1, expected a number above 0"),
    ("loss.temperature", NAN, "loss.temperature is nan, expected a number above 0 .a finite"),
    ("loss.k1", -1.0, "loss.k1 is -1.0, expected 0 or more"),
    ("loss.k2", -1.0, "loss.k2 is -1.0, expected 0 or more"),
    ("loss.k1", INF, "loss.k1 is inf, expected 0 or more .a finite number"),
    ("loss.queue_size", -128, "loss.queue_size is -128, expected 0 to 16777216 rows"),
    ("loss.queue_size", 100, "loss.queue_size is 100, expected a multiple of the 128 rows .* use 128"),
    ("loss.queue_size", 3000, "loss.queue_size is 3000, expected a multiple of the 128 rows .* use 2944"),
    ("loss.classifier_weight", -0.5, "loss.classifier_weight is -0.5, expected 0 or more, or -1 for none"),
    ("loss.momentum_encoder", 1.0, "loss.momentum_encoder is 1.0, expected 0 or more and below 1"),
    ("loss.momentum_encoder", 0.9, "loss.momentum_encoder is 0.9, but loss.queue_size is 0"),
    ("train.batch_size", 100, "train.batch_size is 100, which the 8 devices do not divide.* use 96"),
    ("train.batch_size", 4096, "^train.batch_size is 4096, expected 1 to 1437"),
    ("train.epochs", 0, "train.epochs is 0, expected 1 to 1000000"),
    ("train.learning_rate", -0.1, "train.learning_rate is -0.1"),
    (
        "train.warmup_epochs",
        60,
        "train.warmup_epochs is 60, expected 0 or more and below train.epochs, which is 60",
    ),
    ("train.momentum", 1.0, "momentum is 1.0"),
    ("train.weight_decay", -1e-4, "weight_decay is -0.0001"),
    ("train.optimizer", "adam", "train.optimizer is 'adam', expected one of sgd, lars, adamw"),
    (
        "train.schedule",
        "cubic",
        "train.schedule is 'cubic', expected one of cosine, linear, constant, step",
    ),
    ("train.schedule", "step(0.1,60)", "train.schedule has steps after 60 epochs, .* train.epochs, 60"),
    (
        "train.schedule",
        "optax:sgd",
        "train.schedule names a function that needs 'learning_rate', expected by name",
    ),
    ("train.clip_norm", -1.0, "train.clip_norm is -1.0, expected 0 or more"),
    ("train.layer_decay", 0.0, "train.layer_decay is 0.0, expected above 0 and at most 1"),
    ("train.layer_decay", 1.01, "train.layer_decay is 1.01, expected above 0 and at most 1"),
    ("train.decay", "none", "train.decay is 'none', expected one of all, kernels"),
    (
        "train.learning_rate_scaling",
        "cubic",
        "train.learning_rate_scaling is 'cubic', expected one of none, linear, sqrt",
    ),
    ("train.ema_decay", 1.0, "train.ema_decay is 1.0, expected 0 or more and below 1"),
    ("train.ema_decay", -0.1, "train.ema_decay is -0.1, expected 0 or more and below 1"),
    (
        "model.name",
        "no_such_file:make",
        "model.name is 'no_such_file:make', but its module cannot be imported",
    ),
    ("model.name", "math:tau", "model.name names a float, expected something that can be called"),
    ("model.name", "math:squrt", "math has no 'squrt': did you mean 'sqrt'"),
    ("validation.metric", "recall", "validation.metric is 'recall', expected one of linear_probe, knn"),
    ("validation.metric", "linear_probe", "validation.metric .* needs 'train_probe'"),
    (
        "validation.metric",
        "outlier_auroc",
        "validation.metric .* needs 'outlier_features', .* or name another metric",
    ),
    ("evaluation.metrics", ("knn", "f1"), "evaluation.metrics is 'f1', expected one of linear_probe"),
    (
        "evaluation.metrics",
        ("outlier_auroc",),
        "evaluation.metrics .* needs 'outlier_features', .* where evaluation.outliers.name names a data set",
    ),
    ("evaluation.metrics", ("classifier",), "needs 'logits', .* where loss.name trains a classifier"),
    ("evaluation.metrics", ("knn", "few_labels", "labels_1_percent"), "two metrics .* 'labels_1_percent'"),
    ("evaluation.outliers.name", "dgits", "evaluation.outliers.name is 'dgits'.*digits"),
    ("evaluation.outliers.name", "mnist", "'mnist' is not prepared in .*evaluation.outliers.data_dir"),
    ("log.to", ("wandb",), "log.to is 'wandb', expected one of tensorboard"),
    ("train.not_finite", "ignore", "train.not_finite is 'ignore', expected one of stop, skip"),
    ("train.micro_batch_size", 24, "train.micro_batch_size is 24, which does not divide train.batch_size 64"),
    ("train.micro_batch_size", 12, "train.micro_batch_size is 12, which the 8 devices do not divide"),
    ("train.micro_batch_size", -8, "train.micro_batch_size is -8, expected 0 or more"),
    ("train.precision", "fp8", "train.precision is 'fp8', expected"),
    ("validation.images", -1, "validation.images is -1, expected 0 or more"),
    (
        "validation.images",
        1374,
        "validation.images is 1374, expected 0 to 1373, which leaves a batch of 64 of the 1437",
    ),
    ("probe.batch_size", 12, "probe.batch_size is 12, which the 8 devices do not divide"),
    ("probe.batch_size", 1600, "^probe.batch_size is 1600, expected 1 to 1437"),
    ("probe.epochs", 0, "probe.epochs is 0"),
    ("probe.learning_rate", 0.0, "probe.learning_rate is 0.0"),
    ("checkpoint.every_epochs", 0, "checkpoint.every_epochs is 0"),
    ("log.every_steps", -1, "log.every_steps is -1"),
    ("seed", -1, "seed is -1, expected 0 to 4294967295"),
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.getbasetemp() / "data")


@pytest.mark.parametrize(("field", "value", "message"), MISTAKES, ids=[f"{f}={v}" for f, v, _ in MISTAKES])
def test_mistake(field, value, message, data_dir, tmp_path):
    config = digits_tcl.get_config()
    config.data.data_dir = data_dir
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message) as caught:
        train.run(config, Workdir(str(tmp_path / "run")), "digits_tcl")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"loss.queue_size": 128, "loss.name": "cross_entropy"},
            "loss.queue_size is 128, but the loss 'cross_entropy' takes no 'references'",
        ),
        (
            {"loss.queue_size": 128, "loss.name": f"{__name__}:own_loss"},
            "loss.queue_size is 128, but the loss 'tests.*:own_loss' takes no 'references'",
        ),
        (
            {"loss.learn_temperature": True, "loss.name": "cross_entropy"},
            "loss.learn_temperature is True, but the loss 'cross_entropy' has no temperature",
        ),
        (
            {"loss.class_weights": "balanced", "loss.name": f"{__name__}:own_loss"},
            "loss.class_weights is 'balanced', but the loss 'tests.*:own_loss' takes no 'weights'",
        ),
        (
            {"loss.class_weights": "balanced", "loss.name": "ntxent"},
            "'balanced', but the loss 'ntxent' with loss.labels 'class' learns images and not classes",
        ),
        (
            {"loss.class_weights": "balanced", "loss.labels": "image"},
            "'balanced', but the loss 'tcl' with loss.labels 'image' learns images and not classes",
        ),
        (
            {"data.images_per_class": 8, "loss.name": f"{__name__}:own_loss"},
            "data.images_per_class .* the loss 'tests.*:own_loss' takes no 'weights'",
        ),
        (
            {"loss.learn_temperature": True, "loss.name": f"{__name__}:own_loss"},
            "loss.learn_temperature is True, but the loss 'tests.*:own_loss' has no temperature",
        ),
        (
            {"loss.classifier_weight": 0.0, "loss.name": "cross_entropy"},
            "loss.classifier_weight is 0.0, but the loss 'cross_entropy' already trains a classifier: set it to -1",
        ),
        (
            {"loss.classifier_weight": 0.5, "loss.name": f"{__name__}:OWN_CLASSIFIER"},
            "loss.classifier_weight is 0.5, but the loss 'tests.*:OWN_CLASSIFIER' already trains a classifier",
        ),
        (
            {"loss.learn_temperature": True, "loss.temperature": 1.5},
            r"loss.temperature is 1.5, expected 0.01 to 1.0, between which loss.learn_temperature keeps it",
        ),
    ],
)
def test_what_a_loss_does_not_take_or_may_not_learn(fields, message):
    config = digits_tcl.get_config()
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=message) as caught:
        make_parts(config, make_mesh())
    assert "\n" not in str(caught.value)


# Of a run with a resnet18 of width 2 for images of three channels.
def own_loss(rows, labels):
    return rows.mean()


OWN_CLASSIFIER = Loss(own_loss, head="classifier")


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("tests.modes.tiny_encoder:Tiny", "has no attribute 'layer_names': give it an attribute"),
        (f"{__name__}:other_layers", "has no 'block_0' of its 'layer_names'"),
    ],
)
def test_rates_by_layer_need_an_encoder_that_names_its_layers(encoder, message, data_dir):
    config = digits_tcl.get_config()
    config.data.data_dir = data_dir
    config.model.update(name=encoder, sync_batch_norm=False)
    build_experiment(config)
    config.train.layer_decay = 0.75
    with pytest.raises(
        UserError, match=f"^train.layer_decay is 0.75, but the encoder .* {message}"
    ) as caught:
        build_experiment(config)
    assert "\n" not in str(caught.value)


def other_layers():
    return OtherLayers()


class OtherLayers(nn.Module):
    layer_names = (("stem",), ("block_0",))

    @nn.compact
    def __call__(self, images):
        return nn.Dense(3, name="stem")(images.mean(axis=(1, 2)))
