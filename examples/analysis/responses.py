"""The response of a loss to one pair of an anchor, dL_i/ds_ij: by a formula, and by autodiff of the public losses.

Below 0 the loss pulls the pair together, above 0 it pushes it apart. As rows have unit length, and as
dL_i/dz_i = sum_j (dL_i/ds_ij) z_j, its absolute value is the length of what the pair adds to the anchor's gradient.
"""

from typing import NamedTuple

import jax
import numpy as np

from examples.analysis.surroundings import Kind, Pairs, Surroundings, rows_of
from tcl_jax.losses import supcon_loss, tcl_loss


class Setting(NamedTuple):
    """A loss with its coefficients. loss: "tcl" or "supcon", which is TCL with k1 = 0 and k2 = 1."""

    loss: str
    temperature: float
    k1: float
    k2: float


class Curve(NamedTuple):
    """Responses [g] of a loss to a pair of a kind, at similarities [g]; float64."""

    kind: Kind
    setting: Setting
    similarity: np.ndarray
    closed_form: np.ndarray
    autodiff: np.ndarray


def closed_form(pairs: Pairs, setting: Setting) -> Pairs:
    """The responses of L_i to all pairs of its anchor, float64, in the shapes of the pairs.

        D_i         = sum_P [exp(s_ip / t) + k1 exp(-s_ip)] + k2 sum_N exp(s_in / t)
        dL_i/ds_ip = (exp(s_ip / t) / t - k1 exp(-s_ip)) / D_i - 1 / (t |P|)
        dL_i/ds_in = k2 exp(s_in / t) / (t D_i)

    Written in NumPy and in log space, with nothing of `tcl_jax.losses` in it.

    References:
      Animesh and Chandraker, Tuned Contrastive Learning, WACV 2025, arXiv 2305.10675, Sec. 3; there the anchor's
      gradient is written as a sum over its pairs, with these factors.
    """
    _, t, k1, k2 = setting
    with np.errstate(divide="ignore"):  # log 0 is -inf, and exp(-inf) the 0 that is meant
        log_k1, log_k2 = np.log(k1), np.log(k2)
    attraction, repulsion, push = (
        pairs.positives / t,
        log_k1 - pairs.positives,
        log_k2 + pairs.negatives / t,
    )
    log_denominator = np.logaddexp.reduce(
        np.concatenate([attraction, repulsion, push], axis=-1), axis=-1, keepdims=True
    )
    share = 1.0 / (t * pairs.positives.shape[-1])
    return Pairs(
        np.exp(attraction - log_denominator) / t - np.exp(repulsion - log_denominator) - share,
        np.exp(push - log_denominator) / t,
    )


def closed_form_curve(
    kind: Kind, similarity: np.ndarray, surroundings: Surroundings, setting: Setting
) -> np.ndarray:
    """The responses [g] to one pair of a kind, moved over similarities [g], by `closed_form`."""
    responses = closed_form(surroundings.pairs(kind, similarity), setting)
    return (responses.positives if kind == "positive" else responses.negatives)[..., -1]


def autodiff_curve(
    kind: Kind, similarity: np.ndarray, surroundings: Surroundings, setting: Setting
) -> np.ndarray:
    """The same [g] by autodiff of `tcl_loss` or `supcon_loss`, in 64-bit.

    Rows of unit length with these similarities go through the loss with `reduction="none"`, and the anchor's value is
    differentiated by the moved row z_j. L_i depends on z_j by s_ij = z_i . z_j alone, so that the gradient is
    dL_i/ds_ij z_i, and its product with z_i the response.
    """
    pairs = surroundings.pairs(kind, similarity)
    rows, labels = rows_of(pairs)
    moved = surroundings.num_positives if kind == "positive" else rows.shape[-2] - 1
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        gradients = jax.jit(_anchor_gradients, static_argnums=0)(setting.loss, setting[1:], rows, labels)
        return np.asarray((gradients[:, moved] * rows[:, 0]).sum(axis=-1))


def _anchor_gradients(
    loss: str, coefficients: tuple[float, float, float], rows: jax.Array, labels: jax.Array
) -> jax.Array:
    """dL_0/dz [g, n, d] of the first row's loss in each of g batches."""
    temperature, k1, k2 = coefficients

    def anchor_loss(z: jax.Array) -> jax.Array:
        if loss == "supcon":
            return supcon_loss(z, labels, temperature=temperature, reduction="none")[0]
        return tcl_loss(z, labels, temperature=temperature, k1=k1, k2=k2, reduction="none")[0]

    return jax.lax.map(jax.grad(anchor_loss), rows)


def curve(kind: Kind, similarity: np.ndarray, surroundings: Surroundings, setting: Setting) -> Curve:
    """Both, side by side."""
    arguments = (kind, similarity, surroundings, setting)
    return Curve(kind, setting, similarity, closed_form_curve(*arguments), autodiff_curve(*arguments))


def disagreement(curve: Curve) -> float:
    """The largest difference between formula and autodiff, relative to the curve's largest response."""
    largest = np.max(np.abs(curve.closed_form))
    return float(np.max(np.abs(curve.autodiff - curve.closed_form)) / (largest if largest > 0 else 1.0))
