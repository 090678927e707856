"""The definition, spelled out in NumPy float64: loops over anchors, nothing shifted, nothing shared with the engine."""

import pathlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
LOSS_CASES = sorted(path.stem for kind in ("tcl", "supcon") for path in GOLDEN.glob(f"{kind}_*.npz"))


def anchor_losses(z, labels, weights, temperature, k1, k2):
    """L_i of every row, 0 where the anchor does not count; and the mask of those that count."""
    n = len(z)
    values, counts = np.zeros(n), np.zeros(n, bool)
    for i in range(n):
        if weights[i] == 0:
            continue
        positives = [j for j in range(n) if j != i and weights[j] > 0 and labels[j] == labels[i]]
        negatives = [j for j in range(n) if weights[j] > 0 and labels[j] != labels[i]]
        if not positives:
            continue
        s_p, s_n = z[positives] @ z[i], z[negatives] @ z[i]
        denominator = np.sum(np.exp(s_p / temperature) + k1 * np.exp(-s_p))
        denominator += k2 * np.sum(np.exp(s_n / temperature))
        values[i] = np.log(denominator) - np.mean(s_p) / temperature
        counts[i] = True
    return values, counts


def mean_loss(z, labels, weights, temperature, k1, k2):
    """Weighted mean over the anchors that count."""
    values, counts = anchor_losses(z, labels, weights, temperature, k1, k2)
    return np.sum(weights * counts * values) / np.sum(weights * counts)


def closed_form_gradient(z, labels, weights, temperature, k1, k2):
    """dL/dz of the mean by the matrix M of `tcl_jax.losses.gradient`, dense and unshifted."""
    n = len(z)
    live = weights > 0
    pair = live[:, None] & live[None] & ~np.eye(n, dtype=bool)
    positive = pair & (labels[:, None] == labels[None])
    negative = pair & ~positive
    s = z @ z.T
    e = np.exp(s / temperature)
    denominator = np.sum(positive * (e + k1 * np.exp(-s)) + k2 * negative * e, axis=1)
    count = positive.sum(1)
    counts = live & (count > 0)
    a = np.where(counts, weights, 0) / np.sum(weights * counts)
    a_d = np.where(counts, a / np.where(counts, denominator, 1), 0)
    a_p = np.where(counts, a / np.maximum(count, 1), 0)
    w = positive * (e / temperature - k1 * np.exp(-s)) + negative * k2 * e / temperature
    m = w * (a_d[:, None] + a_d[None]) - positive * (a_p[:, None] + a_p[None]) / temperature
    return m @ z


def random_case(seed, n=24, d=6, classes=4):
    """Unit rows, labels with one class of a single row, weights with zeros; and the three coefficients."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, d))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    labels = rng.integers(0, classes, n)
    labels[rng.integers(n)] = classes  # an anchor without positives
    weights = rng.uniform(0.2, 2.0, n) * (rng.uniform(size=n) > 0.2)
    coefficients = dict(
        temperature=rng.uniform(0.1, 1.0), k1=rng.choice([0.0, 1.0, 5000.0]), k2=rng.uniform(0.5, 3.0)
    )
    return z, labels, weights, coefficients


def relative_error(actual, expected):
    """max |difference| / max |expected|."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    return np.max(np.abs(actual - expected)) / np.max(np.abs(expected))
