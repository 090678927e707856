"""Every field of a config arrives where it belongs, and evaluation looks at the right data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits_tcl
from tcl_jax.data import divide, steps_per_epoch
from tcl_jax.errors import UserError
from tcl_jax.experiment import build as experiment
from tcl_jax.modes import evaluate
from tcl_jax.train.optimizer import learning_rates


@pytest.fixture
def config(tmp_path_factory):
    config = digits_tcl.get_config()
    config.data.data_dir = str(tmp_path_factory.getbasetemp() / "data")
    return config


def spy(monkeypatch, name, module=experiment):
    """Records the keyword arguments of every call of a function that `module` uses."""
    calls, function = [], getattr(module, name)

    @functools.wraps(function)
    def recorded(*arguments, **options):
        calls.append((arguments, options))
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, recorded)
    return calls


def test_each_field_reaches_its_part(config, monkeypatch):
    config.seed = 3
    config.data.train_split = "train[:1000]"
    config.augment.views = ("none", "crop_flip", "simaug")
    config.augment.crop_padding = 2
    config.augment.flip = True
    config.model.update(name="resnet34", width=6, projection_dim=24, sync_batch_norm=False)
    config.loss.update(name="supcon", labels="image", temperature=0.3, k1=7.0, k2=2.5)
    config.train.update(
        batch_size=40, epochs=6, learning_rate=0.7, warmup_epochs=2, momentum=0.8, weight_decay=0.02
    )
    config.train.update(
        optimizer="lars", decay="kernels", ema_decay=0.99, not_finite="skip", precision="bfloat16"
    )
    config.train.update(micro_batch_size=8, learning_rate_scaling="linear")
    config.model.remat = True
    config.model.init_from = "weights.safetensors"
    config.validation.images = 200
    config.probe.update(epochs=9, learning_rate=0.4, batch_size=16)
    config.checkpoint.every_epochs = 4
    config.log.every_steps = 11
    calls = {
        name: spy(monkeypatch, name)
        for name in ("make_policy", "make_views", "make_objective", "make_optimizer", "make_device_step")
    }
    asked = []

    def read_initial_encoder(*arguments, **options):
        asked.append((arguments, options))
        raise UserError("read")

    monkeypatch.setattr(experiment, "read_initial_encoder", read_initial_encoder)
    parts = experiment.build_experiment(config)

    assert len(parts.dataset.train.labels) == 1000
    assert len(parts.training.division.validation) == 200
    assert set(parts.training.division.bank) == set(
        parts.training.division.train
    )  # where the rest is no larger than a bank may be
    np.testing.assert_array_equal(parts.training.division.train, divide(1000, 200, seed=3).train)
    per_epoch = steps_per_epoch(800, 40)
    assert parts.training.hyper[:5] == (0, np.float32(0.3), 7.0, 2.5, 3)
    course = parts.training.course
    assert (course.batch_size, course.micro_batches, course.epochs, course.num_views) == (40, 5, 6, 3)
    assert (course.checkpoint_every_epochs, course.log_every_steps) == (4, 11)
    expected = learning_rates(0.7 * 40 / 256, total_steps=6 * per_epoch, warmup_steps=2 * per_epoch)
    np.testing.assert_array_equal(course.learning_rates, expected)
    encoder, head = parts.training.model.encoder, parts.training.model.head
    assert (encoder.depth, encoder.width, encoder.stem, encoder.axis_name) == (34, 6, "cifar", None)
    assert encoder.dtype == jnp.bfloat16
    assert encoder.remat
    assert head.projection_dim == 24
    assert parts.probe == {"epochs": 9, "learning_rate": 0.4, "batch_size": 16}
    assert (parts.seed, parts.loss_name) == (3, "supcon")

    asked_for = dict.fromkeys(c[0] for c in calls["make_policy"])  # to check them, and again to use them
    assert list(asked_for) == [("none",), ("crop_flip",), ("simaug",)]
    assert all(c[1] == {"crop_padding": 2, "flip": True} for c in calls["make_policy"])
    statistics = parts.dataset.channel_statistics
    for (policies,), options in calls["make_views"]:
        assert options == {"mean": statistics.mean, "std": statistics.std}
        assert len(policies) in (1, 3)  # of the probe, of training
    assert {repr(c) for c in calls["make_objective"]} == {
        repr((("supcon",), {"labels": "image", "num_views": 3, "block_size": 512}))
    }
    optimizer = {"momentum": 0.8, "weight_decay": 0.02, "decay": "kernels"}
    assert all(c == (("lars",), optimizer) for c in calls["make_optimizer"])
    ((_, options),) = calls["make_device_step"]
    assert options == {
        "steps_per_epoch": per_epoch,
        "sync_batch_norm": False,
        "micro_batches": 5,
        "ema_decay": 0.99,
        "skip_not_finite": True,
    }
    assert jax.eval_shape(parts.training.initial_state).average is not None
    assert not asked  # but for the first state itself
    with pytest.raises(UserError):
        parts.training.initial_state()
    network = {"name": "resnet34", "stem": "cifar", "width": 6, "channels": 1}
    assert asked == [(("weights.safetensors",), network)]
    assert parts.facts[:3] == ((8, 8, 1), 10, 1000)
    assert parts.facts[3:] == (*statistics, parts.dataset.class_names)


def test_batch_norm_is_synchronised_and_precision_is_float32_on_a_cpu(config):
    encoder = experiment.build_experiment(config).training.model.encoder
    assert encoder.axis_name == "data"
    assert encoder.dtype is None


def test_evaluation_uses_the_moving_average_where_one_is_kept(config, monkeypatch):
    config.model.width = 2
    config.loss.name = "cross_entropy"
    config.train.ema_decay = 0.9
    parts = experiment.build_experiment(config)
    state = parts.training.initial_state()
    state = state._replace(average=jax.tree.map(lambda x: x + 1, state.average))
    seen = []

    def features(encode, variables, split, **_):
        seen.append(variables)
        return np.zeros((len(split.labels), 16), np.float32)

    def probe(model, variables, *_, **__):
        seen.append(variables)
        return parts.dataset.test.labels, []

    monkeypatch.setattr(evaluate, "extract_features", features)
    monkeypatch.setattr(evaluate, "linear_probe", probe)
    bias = jnp.zeros(10).at[3].set(1.0)  # of the average alone: every test image is a 3
    state.average["params"]["head"]["linear"]["bias"] = bias
    found = evaluate.evaluate(parts, state)
    assert len(seen) == 3
    assert all(variables is state.average for variables in seen)
    assert found.top1()["classifier"] == pytest.approx(np.mean(parts.dataset.test.labels == 3))


def test_evaluation_learns_from_training_images_and_looks_at_test_images(config, monkeypatch):
    config.model.width = 2
    config.loss.name = "cross_entropy"
    parts = experiment.build_experiment(config)
    train, test = parts.dataset.train, parts.dataset.test
    # Stands for the encoder: the first pixels, by which every image is known.
    monkeypatch.setattr(
        evaluate,
        "extract_features",
        lambda encode, variables, split, **_: np.resize(
            split.images.reshape(len(split.images), -1), (len(split.images), 16)
        ).astype(np.float32),
    )
    seen = {}

    def knn(queries, bank, bank_labels, *, num_classes):
        seen["knn"] = (len(queries), len(bank), bank_labels is train.labels, num_classes)
        return np.zeros(len(queries), np.int32)

    def probe(model, variables, split, test_features, **options):
        seen["probe"] = (split is train, len(test_features), options["num_classes"], options["epochs"])
        return test.labels.copy(), [0.5]

    monkeypatch.setattr(evaluate, "knn_predict", knn)
    monkeypatch.setattr(evaluate, "linear_probe", probe)
    state = parts.training.initial_state()
    found = evaluate.evaluate(parts, state)
    assert seen == {"knn": (360, 1437, True, 10), "probe": (True, 360, 10, 20)}
    top1 = found.top1()
    assert top1["linear_probe"] == 1.0
    assert found.probe_losses == [0.5]
    assert top1["knn"] == 0.1  # 36 of 360 are zeros
    features = evaluate.extract_features(None, None, test)
    head = jax.device_get(state.params["head"]["linear"])
    logits = features @ head["kernel"] + head["bias"]
    assert top1["classifier"] == pytest.approx(np.mean(np.argmax(logits, axis=1) == test.labels))
