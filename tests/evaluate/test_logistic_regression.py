"""Logistic regression against that of scikit-learn: its minimum, the choice of its strength, what is held out."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from tcl_jax.evaluate import logistic_regression as module
from tcl_jax.evaluate import logistic_regression_predict


@pytest.fixture(scope="module")
def examples():
    """Three classes that overlap: features and labels to learn from, and features to predict from."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 420)
    features = rng.normal(size=(420, 6)) + rng.normal(size=(3, 6))[labels]
    return features[:120], labels[:120], features[120:]


def of_scikit_learn(x, y, strength):
    return LogisticRegression(C=1 / (len(x) * strength), tol=1e-8, max_iter=5000).fit(x, y)


@pytest.mark.parametrize("strength", module.STRENGTHS)
def test_the_minimum_is_that_of_scikit_learn(examples, strength, monkeypatch):
    train, labels, test = examples
    monkeypatch.setattr(module, "STRENGTHS", (strength,))
    scaler = StandardScaler().fit(train)
    expected = of_scikit_learn(scaler.transform(train), labels, strength)
    found = logistic_regression_predict(train, labels, test, num_classes=3)
    top_two = np.sort(expected.predict_proba(scaler.transform(test)), axis=1)[:, 1:]
    clear = top_two[:, 1] - top_two[:, 0] > 1e-3
    assert clear.sum() > 290
    np.testing.assert_array_equal(found[clear], expected.predict(scaler.transform(test))[clear])


def test_the_strength_is_that_of_the_smallest_loss_on_the_held_out_images(examples, monkeypatch):
    train, labels, test = examples
    x, held_out, fitted, fit = (
        StandardScaler().fit_transform(train),
        module._held_out(labels, 3, 7),
        [],
        module._fit,
    )

    def noted(start, x, y, weights, strength):
        fitted.append((strength, np.asarray(weights)))
        return fit(start, x, y, weights, strength)

    monkeypatch.setattr(module, "_fit", noted)
    logistic_regression_predict(train, labels, test, num_classes=3, seed=7)
    assert [strength for strength, _ in fitted[:-1]] == list(module.STRENGTHS)
    for _, weights in fitted[:-1]:
        np.testing.assert_array_equal(weights, ~held_out)
    losses = [
        log_loss(
            labels[held_out],
            of_scikit_learn(x[~held_out], labels[~held_out], strength).predict_proba(x[held_out]),
        )
        for strength in module.STRENGTHS
    ]
    strength, weights = fitted[-1]
    assert strength == module.STRENGTHS[np.argmin(losses)]
    assert weights.all()
    assert 0 < np.argmin(losses) < len(losses) - 1


def test_a_fifth_of_each_class_is_held_out_but_never_all_of_it():
    labels = np.repeat([0, 1, 2, 3], [1, 2, 6, 50])
    held_out = module._held_out(labels, 5, seed=3)
    assert np.bincount(labels[held_out], minlength=4).tolist() == [0, 1, 2, 10]
    np.testing.assert_array_equal(held_out, module._held_out(labels, 5, seed=3))
    assert (held_out != module._held_out(labels, 5, seed=4)).any()


def test_the_same_arguments_give_the_same_classes_whatever_the_scale(examples):
    train, labels, test = examples
    found = logistic_regression_predict(train, labels, test, num_classes=3)
    np.testing.assert_array_equal(found, logistic_regression_predict(train, labels, test, num_classes=3))
    moved = logistic_regression_predict(-4 * train + 8, labels, -4 * test + 8, num_classes=3)
    np.testing.assert_array_equal(found, moved)


def test_one_image_of_each_class_is_enough_and_classes_without_images_are_never_predicted():
    features = np.eye(3) * 5
    found = logistic_regression_predict(features, [0, 2, 3], features, num_classes=5)
    assert found.tolist() == [0, 2, 3]
