"""The linear probe against softmax regression written out in NumPy."""

import jax
import numpy as np
import pytest

from tcl_jax.augment import make_policy, make_views
from tcl_jax.data import epoch_order
from tcl_jax.evaluate import linear_probe
from tcl_jax.parallel import make_mesh
from tcl_jax.train.learning_rate import learning_rates
from tcl_jax.train.state import PROBE_STREAM, stream_key
from tests.marks import slow

EPOCHS, BATCH, RATE, SEED = 4, 32, 0.3, 5


def softmax_regression(features_of, labels, test_features):
    """The recipe from zero: SGD, momentum 0.9, weight decay 0.002 but of the bias, cosine.

    features_of: (key of the epoch's views, positions) -> features.
    """
    views_key = stream_key(SEED, PROBE_STREAM)
    weights = np.zeros((test_features.shape[1] + 1, 3))
    decay = np.append(np.full(test_features.shape[1], 0.002), 0)[:, None]
    with_bias = lambda x: np.hstack([x, np.ones((len(x), 1))])  # noqa: E731
    steps = len(labels) // BATCH
    rates, velocity = learning_rates(RATE, total_steps=EPOCHS * steps), np.zeros_like(weights)
    losses = []
    for epoch in range(EPOCHS):
        of_epoch = []
        order = epoch_order(len(labels), seed=SEED, epoch=epoch)
        for number in range(steps):
            chosen = order[number * BATCH : (number + 1) * BATCH]
            features = features_of(jax.random.fold_in(views_key, epoch), chosen)
            x, y = with_bias(features), np.eye(3)[labels[chosen]]
            logits = x @ weights
            p = np.exp(logits - logits.max(1, keepdims=True))
            of_epoch.append(-np.mean(np.log(np.sum(p * np.eye(3)[labels[chosen]], 1) / p.sum(1))))
            gradient = x.T @ (p / p.sum(1, keepdims=True) - y) / BATCH
            velocity = 0.9 * velocity + gradient + decay * weights
            weights = weights - rates[epoch * steps + number] * velocity
        losses.append(np.mean(of_epoch))
    return with_bias(test_features) @ weights, losses


@pytest.mark.parametrize("devices", [8, *slow(1)])
def test_against_numpy_and_the_encoder_stays_as_it_was(frozen, split, devices):
    rng = np.random.default_rng(1)
    test_features = rng.normal(size=(400, 6)).astype(np.float32)
    train_features = frozen.features(split.images).astype(np.float32)
    mean, deviation = train_features.mean(0, np.float64), train_features.std(0, dtype=np.float64)

    def scaled(features):
        return 12 * (features - mean) / (deviation * np.sqrt(6))

    before = jax.tree.map(np.array, frozen.variables)
    shifted = make_policy("crop_flip", crop_padding=1, flip=False)
    views = make_views([shifted], mean=frozen.mean, std=frozen.std)
    predicted, losses = linear_probe(
        frozen.model,
        frozen.variables,
        split,
        test_features,
        train_features=train_features,
        views=views,
        num_classes=3,
        epochs=EPOCHS,
        learning_rate=RATE,
        batch_size=BATCH,
        seed=SEED,
        mesh=make_mesh(devices),
    )

    def features_of(key, chosen):
        return scaled(frozen.features_of_views(np.asarray(views(key, split.images[chosen], chosen))))

    logits, expected_losses = softmax_regression(features_of, split.labels, scaled(test_features))
    top_two = np.sort(logits, axis=1)[:, 1:]
    clear = top_two[:, 1] - top_two[:, 0] > 1e-3  # float32 may turn what is closer
    assert clear.sum() > 390
    assert predicted.dtype == np.int32
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    np.testing.assert_array_equal(predicted[clear], np.argmax(logits, axis=1)[clear])
    assert len(set(predicted)) == 3
    jax.tree.map(np.testing.assert_array_equal, frozen.variables, before)
