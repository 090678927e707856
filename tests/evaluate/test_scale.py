"""Linear classifiers do not depend on the scale and offset of features, and are as good as scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from sklearn.linear_model import LogisticRegression

from tcl_jax.augment import make_policy, make_views
from tcl_jax.data import load_dataset
from tcl_jax.evaluate import linear_probe, logistic_regression_predict
from tcl_jax.models import ContrastiveModel, ProjectionHead
from tcl_jax.parallel import make_mesh

WEIGHTS = np.random.default_rng(0).normal(size=(64, 512)).astype(np.float32)
CHANGES = {"plain": (1.0, 0.0), "scaled by 0.01": (0.01, 0.0), "with an offset of 10": (1.0, 10.0)}
WITHIN = 0.005


class Random(nn.Module):
    """A random layer, scaled and moved."""

    scale: float
    offset: float

    @nn.compact
    def __call__(self, images, *, train):
        del train
        return self.scale * nn.relu(images.reshape(len(images), -1) @ WEIGHTS) + self.offset


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def reference(digits):
    """Accuracy of scikit-learn's, at the best of some strengths: it is to be reached."""
    train, test = (
        np.maximum(split.images.reshape(len(split.images), -1) / 255 @ WEIGHTS, 0)
        for split in (digits.train, digits.test)
    )
    mean, deviation = train.mean(0), train.std(0)
    deviation[deviation == 0] = 1
    fitted = LogisticRegression(C=0.01, max_iter=2000).fit((train - mean) / deviation, digits.train.labels)
    return fitted.score((test - mean) / deviation, digits.test.labels)


def features_of(split, change):
    scale, offset = CHANGES[change]
    pixels = split.images.reshape(len(split.images), -1).astype(np.float32) / 255
    return scale * np.maximum(pixels @ WEIGHTS, 0) + np.float32(offset)


@pytest.mark.parametrize("change", CHANGES)
def test_logistic_regression(digits, reference, change):
    predicted = logistic_regression_predict(
        features_of(digits.train, change),
        digits.train.labels,
        features_of(digits.test, change),
        num_classes=10,
    )
    assert np.mean(predicted == digits.test.labels) >= reference - WITHIN


@pytest.mark.parametrize("change", CHANGES)
def test_linear_probe(digits, reference, change):
    model = ContrastiveModel(Random(*CHANGES[change]), ProjectionHead(4))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), train=False)
    predicted, _ = linear_probe(
        model,
        {"params": variables["params"], "batch_stats": {}},
        digits.train,
        features_of(digits.test, change),
        train_features=features_of(digits.train, change),
        views=make_views([make_policy("none", crop_padding=0, flip=False)], mean=(0.0,), std=(1.0,)),
        num_classes=10,
        epochs=40,
        learning_rate=0.5,
        batch_size=64,
        seed=0,
        mesh=make_mesh(1),
    )
    assert np.mean(predicted == digits.test.labels) >= reference - WITHIN
