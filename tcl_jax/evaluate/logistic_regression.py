"""Logistic regression on the features of the images as they are: a linear classifier without a training recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.typing import ArrayLike
from tqdm import tqdm

from tcl_jax.data import epoch_order
from tcl_jax.evaluate.arguments import check_count, check_features, check_labels
from tcl_jax.evaluate.standardise import standardisation, standardise

if TYPE_CHECKING:
    from jaxtyping import Float, Int32, Integer

STRENGTHS = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5)
"""Strengths of the penalty that are tried, in this order."""

_HELD_OUT = 5  # one of this number of images of each class
_TOLERANCE = 1e-5  # of the largest entry of the gradient
_MOST_ITERATIONS = 1000
_ITERATIONS_AT_ONCE = 20  # in one call, so that a signal is answered in between
_SOLVER = optax.lbfgs(memory_size=10)


class _Classifier(NamedTuple):
    """kernel [f, c], bias [c]."""

    kernel: jax.Array
    bias: jax.Array


def logistic_regression_predict(
    train_features: Float[ArrayLike, "n f"],
    train_labels: Integer[ArrayLike, " n"],
    test_features: Float[ArrayLike, "m f"],
    *,
    num_classes: int,
    seed: int = 0,
) -> Int32[np.ndarray, " m"]:
    """Classes of the test images by multinomial logistic regression with an L2 penalty.

    With x the features, standardised by mean and deviation of the training features (a constant feature has deviation
    1), W and b minimise

        1/n sum_i -log softmax(x_i W + b)[y_i] + strength / 2 |W|^2

    as scikit-learn's LogisticRegression(C=1 / (n * strength)) does on the same x. L-BFGS begins at W = 0, b = 0 and
    stops where no entry of the gradient is above 1e-5, or after 1,000 iterations.

    The strengths 10, 1, ..., 1e-5 are tried on four fifths of the training images, each from the solution of the one
    before. That with the smallest cross-entropy on the other fifth is taken, the larger in a tie, and the classifier is
    fitted again to all training images. The fifth is drawn within each class and rounded up, but leaves an image of
    each; where no class has two there is nothing to choose by, and the largest strength is taken. Nothing else is
    drawn: the same arguments give the same classes.

    Args:
      train_features: floating [n, f], from `extract_features`; computed in float32.
      train_labels: integer [n], 0 to num_classes - 1.
      test_features: floating [m, f].
      seed: of the fifth that is held out, 0 or more.

    Returns:
      int32 [m].

    Raises:
      ValueError: an argument has another form, or features that are not finite.

    Sources: Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989, as in Optax. L-BFGS
      and a strength chosen on held-out images: Radford et al., Learning Transferable Visual Models From Natural
      Language Supervision, arXiv 2103.00020, App. A.3.
    """
    logits = logistic_regression_logits(
        train_features, train_labels, test_features, num_classes=num_classes, seed=seed
    )
    return np.argmax(logits, axis=1).astype(np.int32)


def logistic_regression_logits(
    train_features: Float[ArrayLike, "n f"],
    train_labels: Integer[ArrayLike, " n"],
    test_features: Float[ArrayLike, "m f"],
    *,
    num_classes: int,
    seed: int = 0,
) -> Float[np.ndarray, "m {num_classes}"]:
    """x W + b of which `logistic_regression_predict` takes the largest: floating [m, num_classes].

    Arguments and errors are those of it.
    """
    num_classes = check_count("num_classes", num_classes)
    train = check_features("train_features", train_features)
    labels = check_labels("train_labels", train_labels, num_classes=num_classes, rows=len(train))
    test = check_features("test_features", test_features, width=train.shape[1])
    by = standardisation(train)
    x, y = jnp.asarray(standardise(train, by)), jnp.asarray(labels)
    held_out = _held_out(labels, num_classes, seed)
    classifier = _Classifier(jnp.zeros((x.shape[1], num_classes), x.dtype), jnp.zeros(num_classes, x.dtype))
    least, best = np.inf, (STRENGTHS[0], classifier)
    with tqdm(total=len(STRENGTHS) + 1, unit=" fits", dynamic_ncols=True, desc="Logistic regression") as bar:
        for strength in STRENGTHS:
            classifier = _fit(classifier, x, y, jnp.asarray(~held_out, x.dtype), strength)
            loss = float(_cross_entropy(classifier, x, y, jnp.asarray(held_out, x.dtype)))
            if loss < least:  # NaN where none is held out
                least, best = loss, (strength, classifier)
            bar.set_postfix_str(f"strength {strength:g}", refresh=False)
            bar.update()
        strength, classifier = best
        classifier = _fit(classifier, x, y, jnp.ones(len(x), x.dtype), strength)
        bar.set_postfix_str(f"strength {strength:g}", refresh=False)
        bar.update()
    return np.asarray(_logits(classifier, jnp.asarray(standardise(test, by))))


def _held_out(labels: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """Which images are held out: bool [n], a fifth of each class, rounded up, but never all."""
    held_out = np.zeros(len(labels), bool)
    order = epoch_order(len(labels), seed=seed, epoch=0)
    for label in range(num_classes):
        of_class = order[labels[order] == label]
        held_out[of_class[: min(-(-len(of_class) // _HELD_OUT), len(of_class) - 1)]] = True
    return held_out


def _fit(start: _Classifier, x: jax.Array, y: jax.Array, weights: jax.Array, strength: float) -> _Classifier:
    """The minimum for the images of weight 1."""
    # Of no weak types, as it comes out of _iterate, which is then compiled once.
    state = jax.tree.map(lambda leaf: lax.convert_element_type(leaf, leaf.dtype), _SOLVER.init(start))
    classifier = start
    for _ in range(0, _MOST_ITERATIONS, _ITERATIONS_AT_ONCE):
        classifier, state, done = _iterate(classifier, state, x, y, weights, strength)
        if done:
            break
    return classifier


@jax.jit
def _iterate(
    classifier: _Classifier,
    state: Any,
    x: jax.Array,
    y: jax.Array,
    weights: jax.Array,
    strength: ArrayLike,
) -> tuple[_Classifier, Any, jax.Array]:
    """Some iterations of L-BFGS, and whether the minimum is found."""

    def objective(classifier: _Classifier) -> jax.Array:
        penalty = strength / 2 * jnp.sum(jnp.square(classifier.kernel))
        return _cross_entropy(classifier, x, y, weights) + penalty

    value_and_grad = optax.value_and_grad_from_state(objective)

    def found(gradient: _Classifier) -> jax.Array:
        return jnp.maximum(jnp.max(jnp.abs(gradient.kernel)), jnp.max(jnp.abs(gradient.bias))) <= _TOLERANCE

    def iterate(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        number, classifier, state, _ = carry
        value, gradient = value_and_grad(classifier, state=state)
        updates, state = _SOLVER.update(
            gradient, state, classifier, value=value, grad=gradient, value_fn=objective
        )
        # The line search keeps the gradient at the new point.
        done = found(optax.tree.get(state, "grad"))
        return number + 1, optax.apply_updates(classifier, updates), state, done

    def goes_on(carry: tuple[Any, ...]) -> jax.Array:
        return (carry[0] < _ITERATIONS_AT_ONCE) & ~carry[3]

    _, classifier, state, done = lax.while_loop(
        goes_on, iterate, (jnp.int32(0), classifier, state, jnp.bool_(False))
    )
    return classifier, state, done


@jax.jit
def _cross_entropy(classifier: _Classifier, x: jax.Array, y: jax.Array, weights: jax.Array) -> jax.Array:
    """Mean over the images of weight 1; NaN where there are none."""
    losses = optax.softmax_cross_entropy_with_integer_labels(_logits(classifier, x), y)
    return jnp.sum(weights * losses) / jnp.sum(weights)


@jax.jit
def _logits(classifier: _Classifier, x: jax.Array) -> jax.Array:
    # A GPU's default is TF32.
    return jnp.matmul(x, classifier.kernel, precision=lax.Precision.HIGHEST) + classifier.bias
