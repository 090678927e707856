"""Every field of a config arrives where it belongs, and evaluation looks at the right data."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits_tcl
from tcl_jax.data import (
    Dataset,
    Split,
    Subset,
    channel_statistics,
    load_dataset,
    steps_per_epoch,
    symmetric_noise,
    take_subset,
    train_validation_split,
)
from tcl_jax.errors import UserError
from tcl_jax.evaluate import evaluate, evaluation
from tcl_jax.evaluate.metrics import GROUPS, METRICS
from tcl_jax.experiment import build as build_module
from tcl_jax.experiment import parts as parts_module
from tcl_jax.experiment import program as module
from tcl_jax.experiment.build import build_experiment, member_of
from tcl_jax.train.learning_rate import learning_rates
from tcl_jax.train.objective import balanced_weights


@pytest.fixture
def config(tmp_path_factory):
    config = digits_tcl.get_config()
    config.data.data_dir = str(tmp_path_factory.getbasetemp() / "data")
    config.model.update(name="tests.modes.tiny_encoder:Tiny", width=8)
    return config


def spy(monkeypatch, name, where):
    """Records the arguments of every call of a function that a module uses."""
    calls, function = [], getattr(where, name)

    def recorded(*arguments, **options):
        calls.append((arguments, options))
        return function(*arguments, **options)

    monkeypatch.setattr(where, name, recorded)
    return calls


def test_each_field_reaches_its_part_and_each_part_is_made_once(config, monkeypatch):
    config.seed = 3
    config.data.train_split = "train[:1000]"
    config.augment.views = ("none", "crop_flip", "simaug")
    config.augment.crop_padding = 2
    config.augment.flip = True
    config.model.update(name="resnet34", width=6, projection_dim=24, sync_batch_norm=False, remat=True)
    config.loss.update(name="supcon", labels="image", temperature=0.3, k1=7.0, k2=2.5)
    config.loss.update(queue_size=240, momentum_encoder=0.9, learn_temperature=True, classifier_weight=0.3)
    config.train.update(
        batch_size=40, epochs=6, learning_rate=0.7, warmup_epochs=2, momentum=0.8, weight_decay=0.02
    )
    config.train.update(
        optimizer="lars", decay="kernels", ema_decay=0.99, not_finite="skip", precision="bfloat16"
    )
    config.train.update(micro_batch_size=8, learning_rate_scaling="linear")
    config.train.update(schedule="step(0.5,3,5)", clip_norm=2.0, layer_decay=0.75)
    config.validation.images = 200
    config.probe.update(epochs=9, learning_rate=0.4, batch_size=16)
    config.evaluation.metrics = ("knn",)
    config.checkpoint.every_epochs = 4
    config.log.every_steps = 11
    config.log.to = ()
    makers = ("make_policy", "make_objective", "make_optimizer", "make_encoder")
    calls = {name: spy(monkeypatch, name, parts_module) for name in makers}
    steps = spy(monkeypatch, "make_device_step", module)
    experiment = build_experiment(config)
    program, settings = experiment.program, experiment.settings

    options = {"crop_padding": 2, "flip": True}
    assert calls["make_policy"] == [((name,), options) for name in config.augment.views]
    objective = {"labels": "image", "num_views": 3, "micro_batches": 5, "block_size": "auto"}
    assert calls["make_objective"] == [
        (("supcon",), objective | {"weighted": False, "class_weights": "none"})
    ]
    optimizer = {"momentum": 0.8, "weight_decay": 0.02, "decay": "kernels"}
    of_temperature = optimizer | {"weight_decay": 0.0}
    encoder = program.model.encoder
    of_weights = optimizer | {"clip_norm": 2.0, "layer_decay": 0.75, "layer_names": encoder.layer_names}
    assert calls["make_optimizer"] == [(("lars",), of_weights), (("lars",), of_temperature)]
    assert len(calls["make_encoder"]) == len(steps) == 1
    per_epoch = steps_per_epoch(800, 40)
    assert steps[0][1] == {
        "steps_per_epoch": per_epoch,
        "sync_batch_norm": False,
        "micro_batches": 5,
        "ema_decay": 0.99,
        "skip_not_finite": True,
        "momentum_encoder": 0.9,
        "temperature_optimizer": program.parts.temperature_optimizer,
        "classifier": (10, 0.3),
    }
    assert program.schedule == (40, 5, 3, 6, per_epoch, 11, 4, 0, 0)
    assert len(experiment.dataset.train.labels) == 1000
    assert len(settings.split.validation) == 200
    np.testing.assert_array_equal(settings.split.train, train_validation_split(1000, 200, seed=3).train)
    assert settings.hyper[:5] == (0, np.float32(0.3), 7.0, 2.5, 3)
    expected = learning_rates(
        0.7 * 40 / 256,
        total_steps=6 * per_epoch,
        warmup_steps=2 * per_epoch,
        schedule="step(0.5,3,5)",
        steps_per_epoch=per_epoch,
    )
    np.testing.assert_array_equal(settings.learning_rates, expected)
    head = program.model.head
    assert (encoder.depth, encoder.width, encoder.stem, encoder.axis_name) == (34, 6, "cifar", None)
    assert (encoder.dtype, encoder.remat, head.projection_dim) == (jnp.bfloat16, True, 24)
    evaluator = experiment.evaluator
    assert (evaluator.probe, evaluator.seed, evaluator.batch_size) == ((9, 0.4, 16), 3, 8)
    assert (list(evaluator.metrics), program.parts.sinks) == (["knn"], {})
    statistics = experiment.dataset.channel_statistics
    assert experiment.facts == ((8, 8, 1), 10, 1000, *statistics, experiment.dataset.class_names)
    shapes = program.state_shapes()
    assert shapes.average is not None
    assert jax.tree.structure(shapes.momentum_encoder) == jax.tree.structure(shapes.average)
    assert shapes.queue.embeddings.shape == (240, 24)
    assert shapes.temperature.variable["log_ratio"].shape == ()


def two_channels():
    images = np.zeros((4, 8, 8, 2), np.uint8)
    return Dataset("two", Split(images, np.zeros(4, np.int32)), None, ("a",))


def outliers_of_own(test_split):
    """Training images that are not outliers, and grey test images of another size that are."""
    train, test = np.zeros((5, 8, 8, 1), np.uint8), np.full((7, 6, 10, 1), 9, np.uint8)
    labels = np.zeros(7, np.int32)
    split = Split(np.resize(train, (5, 6, 10, 1)), labels[:5])
    return Dataset("own", split, Split(test, labels) if test_split == "test" else None, ("a",))


@pytest.mark.slow
def test_outliers_are_as_large_as_the_training_images_and_make_a_metric(config):
    assert build_experiment(config).evaluator.outliers is None
    config.evaluation.metrics = ("knn",)
    config.evaluation.outliers.update(name="digits", test_split="train[:7]")
    evaluator = build_experiment(config).evaluator
    assert list(evaluator.metrics) == ["knn", "outlier_auroc"]
    assert evaluator.outliers.images.shape == (7, 8, 8, 1)
    config.evaluation.metrics = ("outlier_auroc", "knn")
    config.evaluation.outliers.update(name=f"{__name__}:outliers_of_own", test_split="test")
    evaluator = build_experiment(config).evaluator
    assert list(evaluator.metrics) == ["outlier_auroc", "knn"]
    np.testing.assert_array_equal(evaluator.outliers.images, np.full((7, 8, 8, 1), 9))
    config.evaluation.outliers.test_split = "other"  # which the function has no test images for
    assert len(build_experiment(config).evaluator.outliers.images) == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "digits", "test_split": "tst"}, "^evaluation.outliers.test_split is 'tst'"),
        ({"name": "digits", "test_split": ""}, "^evaluation.outliers.test_split is ''"),
        (
            {"name": "image_folder"},
            "evaluation.outliers.data_dir is .*, which has no folder 'train': give the folder",
        ),
        ({"name": "no_such_file:load"}, "^evaluation.outliers.name is 'no_such_file:load', but its module"),
        ({"name": f"{__name__}:two_channels"}, "outliers.name is .*, whose images are 8x8x2, expected 8x8x1"),
    ],
)
def test_outliers_that_cannot_be(config, fields, message):
    config.evaluation.outliers.update(fields)
    with pytest.raises(UserError, match=message) as caught:
        build_experiment(config)
    assert not re.search(r"\bdata\.(?!image_size)|train_split", str(caught.value))


def test_shapes_of_a_state_are_those_of_the_state(config):
    program = build_experiment(config).program
    shapes, state = program.state_shapes(), program.initial_state(0)
    assert jax.tree.structure(shapes) == jax.tree.structure(state)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(shapes)] == [
        (x.shape, x.dtype) for x in jax.tree.leaves(state)
    ]


def test_members_share_what_is_compiled_and_have_their_own_settings(config):
    experiment = build_experiment(config)
    other = config.copy_and_resolve_references()
    other.seed, other.loss.k1, other.train.learning_rate = 5, 7.0, 0.01
    member = member_of(experiment, other)
    assert member.program is experiment.program
    assert member.dataset is experiment.dataset
    assert (member.settings.seed, member.settings.hyper.k1, member.settings.hyper.seed) == (5, 7.0, 5)
    assert member.settings.learning_rates.max() == pytest.approx(0.01)
    held_out = [set(e.settings.split.validation) for e in (experiment, member)]
    assert held_out[0] != held_out[1]


def test_batches_by_class_decide_how_long_an_epoch_is(config):
    config.data.images_per_class = 8
    config.train.update(batch_size=48, epochs=2, warmup_epochs=0)
    config.validation.images = 0
    experiment = build_experiment(config)
    sizes = np.bincount(experiment.dataset.train.labels)
    groups = int(np.sum(-(-sizes // 8)))
    schedule = experiment.program.schedule
    assert (schedule.steps_per_epoch, schedule.images_per_class) == (groups // 6, 8)
    # Rates of views count images, not the rows that stand for none.
    assert schedule.views_per_step == 2 * round(1437 * 6 / groups) < 2 * 48
    changed = config.copy_and_resolve_references()
    changed.seed = 1
    assert member_of(experiment, changed).settings.seed == 1


def test_a_subset_is_what_is_trained_on_normalised_and_held_out_from(config):
    config.data.update(imbalance=5.0, train_images_of_class=100, train_classes="2:8", subset_seed=7)
    whole = load_dataset("digits", data_dir=config.data.data_dir)
    config.validation.images = 60
    experiment = build_experiment(config)
    train, test = experiment.dataset.train, experiment.dataset.test
    expected = take_subset(whole, Subset("2:8", 100, 5.0, 7))
    np.testing.assert_array_equal(train.images, expected.train.images)
    np.testing.assert_array_equal(np.bincount(train.labels), [100, 72, 52, 38, 27, 20])
    np.testing.assert_array_equal(np.unique(test.labels), [6, 7, 8, 9])
    assert experiment.dataset.class_names == tuple("2345670189")
    assert experiment.facts == ((8, 8, 1), 6, 309, *channel_statistics(train.images), tuple("234567"))
    assert experiment.facts.mean != whole.channel_statistics.mean
    indices = experiment.settings.split
    assert (len(indices.validation), len(indices.train)) == (60, 249)
    assert experiment.program.schedule.steps_per_epoch == 249 // config.train.batch_size
    assert experiment.data.identities["data"]["training images"] == 309
    changed = config.copy_and_resolve_references()
    changed.seed = 1
    assert member_of(experiment, changed).dataset is experiment.dataset


@pytest.mark.slow
def test_wrong_labels_are_learned_from_and_never_judged_by(config, monkeypatch):
    validations = spy(monkeypatch, "make_validate", build_module)
    whole = load_dataset("digits", data_dir=config.data.data_dir)
    config.data.update(label_noise=0.4, subset_seed=3)
    config.validation.images = 60
    experiment = build_experiment(config)
    train = experiment.dataset.train
    expected = symmetric_noise(whole.train.labels, 0.4, 10, seed=3)
    np.testing.assert_array_equal(train.labels, expected)
    np.testing.assert_array_equal(validations[0][1]["true_labels"], whole.train.labels)
    np.testing.assert_array_equal(experiment.dataset.test.labels, whole.test.labels)
    np.testing.assert_array_equal(experiment.evaluator.train.labels, expected)
    np.testing.assert_array_equal(experiment.evaluator.test.labels, whole.test.labels)
    config.data.evaluate_on.name = "digits"
    np.testing.assert_array_equal(build_experiment(config).evaluator.train.labels, whole.train.labels)


def test_a_classifier_has_a_logit_for_each_class_that_is_trained_on(config):
    config.data.train_classes = "0:7"
    config.loss.name = "cross_entropy"
    experiment = build_experiment(config)
    assert experiment.program.model.head.num_classes == 7
    assert experiment.describe_encoder("name")["class_names"] == tuple("0123456")


@pytest.mark.slow
def test_other_data_to_evaluate_on_stay_whole(config):
    config.data.update(train_images_of_class=20, train_classes="0:5")
    config.data.evaluate_on.update(name="digits")
    config.validation.images = 20
    experiment = build_experiment(config)
    assert len(experiment.dataset.train.labels) == 100
    assert experiment.dataset.test is None
    evaluator = experiment.evaluator
    assert (len(evaluator.train.labels), len(evaluator.test.labels)) == (1437, 360)
    assert evaluator.class_names == tuple("0123456789")


@pytest.mark.slow
def test_weights_of_classes_are_those_of_all_training_images(config, monkeypatch):
    config.data.imbalance = 10.0
    config.loss.class_weights = "balanced"
    weighed = spy(monkeypatch, "weigh_classes", module)
    experiment = build_experiment(config)
    (((objective, weights), _),) = weighed
    np.testing.assert_array_equal(weights, balanced_weights(experiment.dataset.train.labels, 10))
    assert experiment.program.parts.objective is not objective
    assert weights.max() / weights.min() == pytest.approx(10, rel=0.1)
    changed = config.copy_and_resolve_references()
    changed.seed = 1  # holds out other images, by the same program
    assert member_of(experiment, changed).program is experiment.program


@pytest.mark.slow
def test_members_that_hold_out_other_images_need_equally_long_epochs(config):
    config.data.images_per_class = 8
    config.train.update(batch_size=16, epochs=2, warmup_epochs=0)
    experiment = build_experiment(config)
    refused = []
    for seed in range(1, 20):
        changed = config.copy_and_resolve_references()
        changed.seed = seed
        try:
            member_of(experiment, changed)
        except UserError as error:
            refused.append(str(error))
    assert refused
    assert "set validation.images to 0" in refused[0]


def test_batch_norm_is_synchronised_and_precision_is_float32_on_a_cpu(config):
    config.model.name = "resnet18"
    encoder = build_experiment(config).program.model.encoder
    assert encoder.axis_name == "data"
    assert encoder.dtype is None


@pytest.fixture
def classifier(config):
    config.loss.name = "cross_entropy"
    config.train.ema_decay = 0.9
    experiment = build_experiment(config)
    return experiment, experiment.program.initial_state(0)


@pytest.mark.slow
def test_evaluation_uses_the_moving_average_where_one_is_kept(classifier, monkeypatch):
    experiment, state = classifier
    state = state._replace(average=jax.tree.map(lambda x: x + 1, state.average))
    seen = []

    def features(encode, variables, split, **_):
        seen.append(variables)
        return np.zeros((len(split.labels), 16), np.float32)

    def probe(model, variables, *_, **__):
        seen.append(variables)
        return experiment.dataset.test.labels, []

    monkeypatch.setattr(evaluation, "extract_features", features)
    monkeypatch.setattr(evaluation, "linear_probe_logits", probe)
    bias = jnp.zeros(10).at[3].set(1.0)  # of the average alone: every test image is a 3
    state.average["params"]["head"]["linear"]["bias"] = bias
    found = evaluate(experiment.evaluator, state.evaluated)
    assert len(seen) == 3
    assert all(variables is state.average for variables in seen)
    assert found.metrics["classifier"] == pytest.approx(np.mean(experiment.dataset.test.labels == 3))


def test_evaluation_learns_from_training_images_and_looks_at_test_images(classifier, monkeypatch):
    experiment, state = classifier
    train, test = experiment.dataset.train, experiment.dataset.test

    def first_pixels(encode, variables, split, **_):
        """Stands for the encoder: by them every image is known."""
        pixels = split.images.reshape(len(split.images), -1)
        return np.resize(pixels, (len(split.images), 16)).astype(np.float32)

    monkeypatch.setattr(evaluation, "extract_features", first_pixels)
    seen = {}

    def knn(features, train_features, train_labels, num_classes):
        seen["knn"] = (len(features), len(train_features), train_labels is train.labels, num_classes)
        return np.zeros(len(features), np.int32)

    def probe(model, variables, split, test_features, **options):
        seen["probe"] = (split is train, len(test_features), options["num_classes"], options["epochs"])
        return test.labels.copy(), [0.5]

    monkeypatch.setattr(evaluation, "linear_probe_logits", probe)
    metrics = {**METRICS, "knn": knn}
    found = evaluate(experiment.evaluator._replace(metrics=metrics, outliers=test), state.variables)
    assert seen == {"knn": (360, 1437, True, 10), "probe": (True, 360, 10, 20)}
    assert found.metrics["linear_probe"] == 1.0
    assert found.probe_losses == [0.5]
    assert found.metrics["knn"] == 0.1  # 36 of 360 are zeros
    assert found.predictions.keys() == found.metrics.keys() - {
        *GROUPS["retrieval"],
        *GROUPS["few_labels"],
        "outlier_auroc",
    }
    assert found.metrics["outlier_auroc"] == 0.5  # the outliers are the test images
    head = jax.device_get(state.params["head"]["linear"])
    other = experiment.evaluator._replace(
        metrics={"classifier": METRICS["classifier"]}, trained_class_names=("a", "b")
    )
    assert evaluate(other, state.variables).metrics == {"classifier": None}
    logits = first_pixels(None, None, test) @ head["kernel"] + head["bias"]
    assert found.metrics["classifier"] == pytest.approx(np.mean(np.argmax(logits, axis=1) == test.labels))
