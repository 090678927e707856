"""Every member of the family spelled out in NumPy float64, dense and unshifted; nothing shared with the engine.

The formulas are analytic, so that a complex step gives derivatives that are exact but for rounding.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tcl_jax import losses


def tcl(s, p, q, temperature, k1=0.0, k2=1.0):
    """Eq. 4 of arXiv 2305.10675, with degrees of positives."""
    e, count = np.exp(s / temperature), p.sum(1)
    denominator = np.sum(p * (e + k1 * np.exp(-s)) + k2 * q * e, axis=1)
    return _log(denominator) - np.sum(p * s, axis=1) / temperature / _or_one(count), count > 0


def supcon_inside(s, p, q, temperature):
    """L_in of arXiv 2004.11362."""
    e, count = np.exp(s / temperature), p.sum(1)
    inside = np.sum(p * e, axis=1) / _or_one(count) / _or_one(np.sum((p + q) * e, axis=1))
    return -_log(inside), count > 0


def decoupled(s, p, q, temperature):
    """arXiv 2110.06848."""
    e, count = np.exp(s / temperature), p.sum(1)
    negatives = np.sum(q * e, axis=1)
    mean = np.sum(p * s, axis=1) / temperature / _or_one(count)
    return _log(negatives) - mean, (count > 0) & (q.sum(1) > 0)


def decoupled_inside(s, p, q, temperature):
    """Both of the above."""
    e, count = np.exp(s / temperature), p.sum(1)
    inside = np.sum(p * e, axis=1) / _or_one(count) / _or_one(np.sum(q * e, axis=1))
    return -_log(inside), (count > 0) & (q.sum(1) > 0)


def one_positive(s, p, q, temperature):
    """SINCERE, arXiv 2309.14277."""
    e, count = np.exp(s / temperature), p.sum(1)
    negatives = np.sum(q * e, axis=1)
    return np.sum(p * -np.log(e / (e + negatives[:, None])), axis=1) / _or_one(count), count > 0


def one_positive_inside(s, p, q, temperature):
    """As in google-research/supcon: inside, with one positive in each denominator."""
    e, count = np.exp(s / temperature), p.sum(1)
    shares = e / (e + np.sum(q * e, axis=1)[:, None])
    return -_log(np.sum(p * shares, axis=1) / _or_one(count)), count > 0


def hard_negatives(s, p, q, temperature, hardness):
    """arXiv 2010.04592 with tau+ = 0."""
    e, importance, count = np.exp(s / temperature), np.exp(hardness * s / temperature), p.sum(1)
    negatives = q.sum(1) * np.sum(q * importance * e, axis=1) / _or_one(np.sum(q * importance, axis=1))
    denominator = np.sum(p * e, axis=1) + negatives
    return _log(denominator) - np.sum(p * s, axis=1) / temperature / _or_one(count), count > 0


def clip(s, p, q, scale):
    """One side of CLIP's loss."""
    return tcl(s, p, q, 1.0 / scale)


def siglip(s, p, q, scale, bias):
    """One side of arXiv 2303.15343; every row counts."""
    x = scale * s + bias
    return np.sum(p * np.log(1 + np.exp(-x)) + q * np.log(1 + np.exp(x)), axis=1), np.ones(len(s), bool)


class Member(NamedTuple):
    """A public loss with its formula: (s, p, q, coefficients) -> (L_i, whether the anchor counts)."""

    loss: Callable[..., Any]
    formula: Callable[..., Any]
    coefficients: dict[str, float]
    options: Mapping[str, str] = MappingProxyType({})
    towers: int = 1


T = dict(temperature=0.3)
MEMBERS = {
    "tcl": Member(losses.tcl_loss, tcl, dict(temperature=0.3, k1=20.0, k2=1.5)),
    "supcon": Member(losses.supcon_loss, tcl, T),
    "supcon_inside": Member(losses.supcon_loss, supcon_inside, T, dict(positives="inside")),
    "decoupled": Member(losses.supcon_loss, decoupled, T, dict(denominator="negatives")),
    "decoupled_inside": Member(
        losses.supcon_loss, decoupled_inside, T, dict(positives="inside", denominator="negatives")
    ),
    "one_positive": Member(losses.supcon_loss, one_positive, T, dict(denominator="one_positive")),
    "one_positive_inside": Member(
        losses.supcon_loss, one_positive_inside, T, dict(positives="inside", denominator="one_positive")
    ),
    "hard_negatives": Member(losses.supcon_loss, hard_negatives, T | dict(hardness=0.7)),
    "clip": Member(losses.clip_loss, clip, dict(scale=4.0), towers=2),
    "siglip": Member(losses.siglip_loss, siglip, dict(scale=4.0, bias=-2.0), towers=2),
}


class Rows(NamedTuple):
    """Arguments of a loss: labels [n] or [n, c]; left_out, references and weights or None."""

    embeddings: tuple[np.ndarray, ...]
    labels: Any
    weights: np.ndarray
    left_out: Any = None
    references: Any = None


def anchor_losses(member, rows, coefficients):
    """L_i of every row, 0 where it does not count; and the mask of those that count."""
    live = rows.weights > 0
    others, labels, their_live = rows.embeddings[-1], rows.labels, live
    itself, apart = np.eye(len(live), dtype=bool) & (member.towers == 1), np.zeros((len(live),) * 2, bool)
    if rows.left_out is not None:
        apart = (
            (rows.left_out[:, None] == rows.left_out) & (rows.left_out >= 0) & ~np.eye(len(live), dtype=bool)
        )
    if rows.references is not None:
        z, their_labels, their_weights, *ids = rows.references
        others, labels = np.concatenate([others, z]), np.concatenate([labels, their_labels])
        their_live = np.concatenate([live, their_weights > 0])
        itself = np.pad(itself, [(0, 0), (0, len(z))])
        ids = ids[0] if ids else np.full(len(z), -1)
        ours = np.full(len(live), -1) if rows.left_out is None else rows.left_out
        apart = np.concatenate([apart, (ours[:, None] == ids) & (ids >= 0)], axis=1)
    pair = live[:, None] & their_live & ~itself & ~apart
    p = rows.labels[:, None] == labels if labels.ndim == 1 else rows.labels @ labels.T
    sides = [(rows.embeddings[0] @ others.T, pair * p, pair * (1.0 - p))]
    if member.towers == 2:
        s, p, q = sides[0]
        sides.append((s.T, p.T, q.T))
    found = [member.formula(*side, **coefficients) for side in sides]
    counts = live & found[0][1]
    return np.where(counts, sum(values for values, _ in found) / len(found), 0.0), counts


def mean_loss(member, rows, coefficients):
    """Weighted mean over the anchors that count; 0 where none does."""
    values, counts = anchor_losses(member, rows, coefficients)
    weights = rows.weights * counts
    return np.sum(weights * values) / _or_one(np.sum(weights))


def derivatives(member, rows, coefficients):
    """Of the mean, by the embeddings, the weights of live rows and the coefficients: by a complex step."""
    step = 1e-30

    def by(array, put):
        found = np.zeros(np.shape(array))
        for index in np.ndindex(found.shape):
            moved = np.array(array, complex)
            moved[index] += 1j * step
            found[index] = np.imag(mean_loss(member, *put(moved))) / step
        return found

    by_embeddings = [
        by(z, lambda z, i=i: (rows._replace(embeddings=_put(rows.embeddings, i, z, member)), coefficients))
        for i, z in enumerate(rows.embeddings)
    ]
    by_weights = by(rows.weights, lambda weights: (rows._replace(weights=weights), coefficients))
    by_coefficients = {
        name: by(value, lambda x, name=name: (rows, coefficients | {name: x[()]}))
        for name, value in coefficients.items()
    }
    return by_embeddings, np.where(rows.weights > 0, by_weights, 0.0), by_coefficients


def _put(embeddings, number, z, member):
    if member.towers == 1:
        return (z,)
    return tuple(z if i == number else other for i, other in enumerate(embeddings))


def _or_one(x):
    return np.where(x == 0, 1.0, x)


def _log(x):
    return np.log(_or_one(x))


def unit_rows(rng, n, d):
    z = rng.normal(size=(n, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def soft_labels(rng, n, classes):
    """Mixtures, one-hot rows, unit multi-hot rows, and one row of zeros, which has no positive."""
    y = rng.dirichlet(np.full(classes, 0.3), n)
    y[: n // 3] = np.eye(classes)[rng.integers(0, classes, n // 3)]
    y[n // 3 : n // 2, 1:3] = 1.0
    y[n // 3 : n // 2, 0] = 0.0
    y[n // 3 : n // 2, 3:] = 0.0
    y[: n // 2] /= np.linalg.norm(y[: n // 2], axis=1, keepdims=True)
    y[n // 4] = 0.0
    return y


SITUATIONS = ("classes", "soft", "left_out", "references", "soft_references")
OF_TOWERS = ("pairs", "classes", "soft")


def random_rows(situation, *, towers=1, n=24, d=5, classes=4, seed=0):
    """Rows with weights of 0, an anchor without positives, and what the situation asks for."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 2.0, n) * (rng.uniform(size=n) > 0.2)
    labels = rng.integers(0, classes, n)
    labels[n // 2] = classes
    left_out = references = None
    if "soft" in situation:
        labels = soft_labels(rng, n, classes)
    if situation == "pairs":
        labels = np.arange(n)
    if situation in ("left_out", "references"):
        left_out = rng.integers(-1, 5, n)
    if "references" in situation:
        m = 16
        theirs = soft_labels(rng, m, classes) if "soft" in situation else rng.integers(0, classes + 2, m)
        references = unit_rows(rng, m, d), theirs, (rng.uniform(size=m) > 0.3).astype(float)
        if left_out is not None:
            references = *references, rng.integers(-1, 8, m)
    return Rows(tuple(unit_rows(rng, n, d) for _ in range(towers)), labels, weights, left_out, references)
