"""What an evaluation reports, and what not."""

import numpy as np
import pytest

from tcl_jax.augment import make_policy, make_views
from tcl_jax.data import TrainValidationSplit
from tcl_jax.evaluate import METRICS, Evaluator, evaluate, evaluation, make_validate
from tcl_jax.evaluate.probe import ProbeSettings
from tcl_jax.models import make_encode
from tcl_jax.parallel import make_mesh

NAMES = ("linear_probe", "knn", "logistic_regression")


@pytest.fixture
def evaluator(frozen, split):
    mesh = make_mesh(1)
    return Evaluator(
        train=split,
        test=split.select(np.arange(40)),
        class_names=("a", "b", "c"),
        model=frozen.model,
        encode=make_encode(frozen.model, mean=frozen.mean, std=frozen.std, mesh=mesh),
        metrics={name: METRICS[name] for name in NAMES},
        probe_views=make_views(
            [make_policy("none", crop_padding=0, flip=False)], mean=frozen.mean, std=frozen.std
        ),
        probe=ProbeSettings(epochs=2, learning_rate=0.5, batch_size=55),
        seed=0,
        batch_size=50,
        mesh=mesh,
    )


def diverged(frozen, value):
    statistics = {"mean": np.array([value], np.float32), "var": np.ones(1, np.float32)}
    return {**frozen.variables, "batch_stats": {"encoder": {"bn1": statistics}}}


def test_all_metrics_are_accuracies_of_the_test_images(frozen, evaluator, capsys):
    found = evaluate(evaluator, frozen.variables)
    assert list(found.metrics) == list(found.predictions) == list(NAMES)
    for name, predicted in found.predictions.items():
        assert found.metrics[name] == np.mean(predicted == evaluator.test.labels)
        assert found.metrics[name] > 0.5
    assert "Not reported" not in capsys.readouterr().out


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_encoder_has_no_metrics_and_one_line_says_so(frozen, evaluator, capsys, value):
    found = evaluate(evaluator, diverged(frozen, value))
    assert found.metrics == dict.fromkeys(NAMES)
    assert found.predictions == {}
    assert capsys.readouterr().out == (
        "Not reported: linear probe, kNN, logistic regression, as the features of 40 of the 40 evaluated images are "
        "not finite.\n"
    )


@pytest.mark.parametrize("which", ["train", "test"])
def test_one_class_has_no_accuracy_and_no_probe_is_trained_for_it(
    frozen, evaluator, monkeypatch, capsys, which
):
    part = getattr(evaluator, which)
    one_class = {which: part._replace(labels=np.ones_like(part.labels))}
    monkeypatch.setattr(evaluation, "linear_probe_logits", None)
    found = evaluate(evaluator._replace(**one_class), frozen.variables)
    assert found.metrics == dict.fromkeys(NAMES)
    assert found.predictions == {}
    images = "training" if which == "train" else "evaluated"
    assert capsys.readouterr().out == (
        f"Not reported: linear probe, kNN, logistic regression, as the {images} images are all of one class.\n"
    )


def test_held_out_images_of_one_class_have_no_metric_and_a_line_says_so_once(
    frozen, evaluator, split, capsys
):
    of_one_class, others = np.flatnonzero(split.labels == 1)[:5], np.flatnonzero(split.labels != 1)
    indices = TrainValidationSplit(np.setdiff1d(np.arange(110), of_one_class), of_one_class, others)
    validate = make_validate(
        METRICS["knn"],
        evaluator.encode,
        split,
        indices,
        num_classes=3,
        batch_size=50,
        mesh=evaluator.mesh,
    )
    assert validate(frozen.variables) is None
    assert validate(frozen.variables) is None
    assert capsys.readouterr().out == (
        "The metric of the held-out images has no value, as the evaluated images are all of one class.\n"
    )
    assert validate(diverged(frozen, np.nan)) is None
    assert "the features of 5 of the 5 evaluated images are not finite" in capsys.readouterr().out
