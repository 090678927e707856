"""Few labels: what a linear classifier makes of the features when it is shown some images of each class alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike

from tcl_jax.data import epoch_order
from tcl_jax.evaluate.arguments import check_count, check_features, check_labels
from tcl_jax.evaluate.standardise import standardisation, standardise

if TYPE_CHECKING:
    from jaxtyping import Float, Int32, Integer

DRAWS = 10


def few_labels_predict(
    train_features: Float[ArrayLike, "n f"],
    train_labels: Integer[ArrayLike, " n"],
    test_features: Float[ArrayLike, "m f"],
    *,
    counts: Integer[ArrayLike, " c"],
    draws: int = DRAWS,
    seed: int = 0,
) -> Int32[np.ndarray, "{draws} m"]:
    """Classes of the test images by ridge regression on a few training images, for several draws of them.

    With x the features, standardised by mean and deviation of all training features (a constant feature has deviation
    1), and y_i the one-hot class of image i, W and b minimise over the images of a draw

        sum_i |x_i W + b - y_i|^2 + f |W|^2,   f the number of features

    as scikit-learn's Ridge(alpha=f) does, in closed form. The class with the largest x W + b is predicted, of equal
    ones the smaller number. The images are drawn by `draw_images`; nothing else is drawn.

    Args:
      train_features: floating [n, f], from `extract_features`.
      train_labels: integer [n], 0 to c - 1.
      test_features: floating [m, f].
      counts: integer [c], the images to draw of each class, no more than there are, and at least one in all.
      draws: their number, 1 or more.
      seed: of the draws, 0 or more.

    Returns:
      int32 [draws, m].

    Raises:
      ValueError: an argument has another form, or features that are not finite.
    """
    wanted, draws = np.asarray(counts), check_count("draws", draws)
    train = check_features("train_features", train_features)
    labels = check_labels("train_labels", train_labels, num_classes=len(wanted), rows=len(train))
    test = check_features("test_features", test_features, width=train.shape[1])
    sizes = np.bincount(labels, minlength=len(wanted))
    if not ((wanted >= 0) & (wanted <= sizes)).all() or not wanted.any():
        raise ValueError(
            f"counts must be 0 to {sizes.tolist()}, the images of each class, and not all 0, got {wanted.tolist()}."
        )
    by = standardisation(train)
    x, one_hot = standardise(test, by), np.eye(len(wanted), dtype=train.dtype)
    predicted = []
    for draw in range(draws):
        drawn = draw_images(labels, wanted, seed=seed, draw=draw)
        kernel, bias = _ridge(standardise(train[drawn], by), one_hot[labels[drawn]])
        predicted.append(np.argmax(x @ kernel + bias, axis=1))
    return np.asarray(predicted, np.int32)


def draw_images(
    labels: Integer[np.ndarray, " n"], counts: Integer[np.ndarray, " c"], *, seed: int, draw: int
) -> Int32[np.ndarray, " drawn"]:
    """Which images are drawn: the first counts[c] of each class c in a random order of all, which draw and seed decide.

    Of one draw, the images of smaller counts are among those of larger ones.

    >>> draw_images(np.array([0, 1, 0, 1, 0]), np.array([1, 2]), seed=0, draw=0).tolist()
    [4, 3, 1]
    """
    order, sizes = epoch_order(len(labels), seed=seed, epoch=draw), np.bincount(labels, minlength=len(counts))
    by_class = order[np.argsort(labels[order], kind="stable")]
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within the class
    return by_class[place < np.repeat(counts, sizes)]


def share_of_each(sizes: Integer[np.ndarray, " c"], share: float) -> Integer[np.ndarray, " c"]:
    """A share of the images of each class, rounded, but at least one where there is any: int [c].

    >>> share_of_each(np.array([1000, 140, 20, 0]), 0.01).tolist()
    [10, 1, 1, 0]
    """
    return np.minimum(np.maximum(np.rint(share * sizes).astype(int), 1), sizes)


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W [f, c] and b [c] of images x [n, f] with targets y [n, c]."""
    offset, mean = x.mean(axis=0), y.mean(axis=0)
    centred, width = x - offset, x.shape[1]
    system = (centred.T @ centred).astype(np.float64) + width * np.eye(width)
    kernel = np.linalg.solve(system, centred.T @ (y - mean)).astype(x.dtype)
    return kernel, mean - offset @ kernel
