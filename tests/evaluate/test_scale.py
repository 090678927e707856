"""Linear classifiers do not depend on the scale and offset of features, and are as good as scikit-learn's."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler

from tcl_jax.augment import make_policy, make_views
from tcl_jax.data import load_dataset
from tcl_jax.evaluate import linear_probe, logistic_regression_predict
from tcl_jax.models import ContrastiveModel, ProjectionHead
from tcl_jax.parallel import make_mesh
from tests.marks import slow

WIDTH = 128
CHANGES = {"plain": (1.0, 0.0), "scaled by 0.01": (0.01, 0.0), "with an offset of 10": (1.0, 10.0)}
DRAWS = range(3)  # of the random layer
WITHIN = 0.005


class Random(nn.Module):
    """A random layer, scaled and moved, all by its parameters: so one program serves all of them."""

    @nn.compact
    def __call__(self, images, *, train):
        del train
        weights = self.param("weights", nn.initializers.normal(1.0), (64, WIDTH))
        scale, offset = (self.param(name, nn.initializers.ones, ()) for name in ("scale", "offset"))
        return scale * nn.relu(images.reshape(len(images), -1) @ weights) + offset


@functools.cache
def digits():
    return load_dataset("digits")


def weights_of(draw):
    return np.random.default_rng(draw).normal(size=(64, WIDTH)).astype(np.float32)


def features_of(draw, change):
    """Of the training and the test images."""
    scale, offset = CHANGES[change]
    return (
        scale
        * np.maximum(split.images.reshape(len(split.images), -1) / np.float32(255) @ weights_of(draw), 0)
        + np.float32(offset)
        for split in (digits().train, digits().test)
    )


def standardised(draw, change):
    train, test = features_of(draw, change)
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def accuracy(predicted):
    return np.mean(predicted == digits().test.labels)


@functools.cache
def of_scikit_learn(draw):
    """The accuracy at that of some strengths whose cross-entropy on held-out images is the smallest."""
    train, test = standardised(draw, "plain")
    held_out = np.arange(len(train)) % 5 == 0
    fitted = LogisticRegressionCV(
        Cs=[1 / (len(train) * strength) for strength in (0.1, 0.01, 1e-3)],
        l1_ratios=(0,),
        cv=[(np.flatnonzero(~held_out), np.flatnonzero(held_out))],
        scoring="neg_log_loss",
        max_iter=5000,
        use_legacy_attributes=False,
    ).fit(train, digits().train.labels)
    return accuracy(fitted.predict(test))


@functools.cache
def of_the_probe(draw, change):
    """Classes predicted with the settings of tcl_jax/config.py."""
    scale, offset = (jnp.float32(value) for value in CHANGES[change])
    train, test = features_of(draw, change)
    parameters = dict(weights=jnp.asarray(weights_of(draw)), scale=scale, offset=offset)
    predicted, _ = linear_probe(
        ContrastiveModel(Random(), ProjectionHead(4)),
        {"params": {"encoder": parameters}, "batch_stats": {}},
        digits().train,
        test,
        train_features=train,
        views=no_views(),
        num_classes=10,
        epochs=50,
        learning_rate=0.5,
        batch_size=64,
        seed=0,
        mesh=make_mesh(1),
    )
    return predicted


@functools.cache
def no_views():
    return make_views([make_policy("none", crop_padding=0, flip=False)], mean=(0.0,), std=(1.0,))


def mean_difference(predict):
    """Over the draws: in a single one, 0.005 of 360 images is one image, and a strength chosen on others moves two."""
    return np.mean([accuracy(predict(draw)) - of_scikit_learn(draw) for draw in DRAWS])


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_logistic_regression(change):
    def predict(draw):
        train, test = features_of(draw, change)
        return logistic_regression_predict(train, digits().train.labels, test, num_classes=10)

    assert abs(mean_difference(predict)) <= WITHIN


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_linear_probe(change):
    assert abs(mean_difference(lambda draw: of_the_probe(draw, change))) <= WITHIN


@pytest.mark.parametrize("change", ["scaled by 0.01", *slow(*(x for x in CHANGES if x != "scaled by 0.01"))])
@pytest.mark.parametrize("draw", [0, *slow(1, 2)])
def test_the_linear_probe_comes_to_the_minimum_of_its_objective(draw, change):
    train, test = (12 * x / np.sqrt(WIDTH) for x in standardised(draw, change))
    fitted = LogisticRegression(C=1 / (0.002 * len(train)), max_iter=5000).fit(train, digits().train.labels)
    assert np.mean(of_the_probe(draw, change) != fitted.predict(test)) <= WITHIN
