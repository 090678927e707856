"""The responses of all losses to one pair of the same anchor, by autodiff of the public functions: values and picture.

One batch, read as each loss reads it: with class labels; for NT-Xent without, so that the anchor has one positive, the
last, and the rest of its class are negatives; for SigLIP as one row of the first tower against all of the second.
"""

import functools
import io
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from examples.analysis.surroundings import Kind, Surroundings, rows_of
from tcl_jax import losses

_LEAST, _MOST = 1e-3, 30.0  # of the logarithmic axes
_REFERENCE = "SupCon, out"

# (rows [n, d] from the anchor on, labels [n], number of positives, temperature) -> sum over pairs of the anchor's loss
Loss = Callable[[jax.Array, np.ndarray, int, float], jax.Array]


def _with_labels(loss: Callable[..., jax.Array], **options: Any) -> Loss:
    return lambda z, labels, _, temperature: loss(
        z, labels, temperature=temperature, reduction="none", **options
    )[0]


def _ntxent(z: jax.Array, labels: np.ndarray, num_positives: int, temperature: float) -> jax.Array:
    """Two views of each image: the anchor with its last positive; the others in any order, padded to full pairs."""
    view = z[num_positives]
    others = jnp.delete(z[1:], num_positives - 1, axis=0)
    padding = len(others) % 2
    first, second = jnp.split(jnp.pad(others, [(0, padding), (0, 0)]), 2)
    rows = jnp.concatenate([z[:1], first, view[None], second])
    weights = np.ones(len(rows))
    weights[len(rows) - padding :] = 0.0
    return losses.ntxent_loss(rows, temperature=temperature, weights=weights, reduction="none")[0]


def _siglip(z: jax.Array, labels: np.ndarray, num_positives: int, temperature: float) -> jax.Array:
    """All pairs, of which the anchor's alone move: the other rows of the first tower are at right angles to z[0]."""
    b = jnp.pad(z[1:], [(0, 0), (0, 1)])
    a = jnp.zeros_like(b).at[:, -1].set(1.0).at[0].set(jnp.append(z[0], 0.0))
    return len(b) * losses.siglip_loss(a, b, labels=labels[1:], scale=1.0 / temperature, bias=-10.0)


LOSSES: dict[str, Loss] = {
    "TCL": _with_labels(losses.tcl_loss, k1=5000.0, k2=1.0),
    "SupCon, out": _with_labels(losses.supcon_loss),
    "SupCon, in": _with_labels(losses.supcon_loss, positives="inside"),
    "SINCERE": _with_labels(losses.supcon_loss, denominator="one_positive"),
    "decoupled": _with_labels(losses.supcon_loss, denominator="negatives"),
    "NT-Xent": _ntxent,
    "SigLIP": _siglip,
}


def response(
    name: str, kind: Kind, similarity: np.ndarray, surroundings: Surroundings, temperature: float
) -> np.ndarray:
    """dL_i/ds_ij of the moved pair at similarities [g], float64: below 0 a pull, above 0 a push.

    L_i depends on the moved row z_j by s_ij = z_i . z_j, so that its gradient by z_j has dL_i/ds_ij as its part along
    z_i.
    """
    rows, labels = rows_of(surroundings.pairs(kind, similarity))
    moved = surroundings.num_positives if kind == "positive" else rows.shape[-2] - 1
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        gradients = _gradients(
            name, tuple(labels.tolist()), surroundings.num_positives, temperature, jnp.asarray(rows)
        )
        return np.asarray((gradients[:, moved] * rows[:, 0]).sum(axis=-1))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _gradients(
    name: str, labels: tuple[int, ...], num_positives: int, temperature: float, rows: jax.Array
) -> jax.Array:
    given = np.array(labels, np.int32)
    return jax.lax.map(jax.grad(lambda z: LOSSES[name](z, given, num_positives, temperature)), rows)


def draw(surroundings: Surroundings, temperature: float) -> bytes:
    """A PNG with a column for each loss: the size of its response to a positive above, to a negative below."""
    similarity = np.linspace(-1.0, 1.0, 201)
    figure = Figure(figsize=(13, 6.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(LOSSES), sharex=True, sharey="row")
    kinds: tuple[Kind, Kind] = ("positive", "negative")
    for kind, panels in zip(kinds, grid, strict=True):
        curves = {name: response(name, kind, similarity, surroundings, temperature) for name in LOSSES}
        for axes, (name, curve) in zip(panels, curves.items(), strict=True):
            axes.axvspan(*surroundings.hard(kind), color="#000000", alpha=0.05, linewidth=0)
            axes.plot(similarity, np.abs(curves[_REFERENCE]), color="#999999", linewidth=1.0)
            _by_sign(axes, similarity, curve)
            axes.set(yscale="log", xlim=(-1.0, 1.0), ylim=(_LEAST, _MOST), xticks=(-1, 0, 1))
            axes.grid(color="#DDDDDD", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            if kind == "positive":
                axes.set_title(name, fontsize=11, fontweight="bold")
        panels[0].set_ylabel(f"one {kind}:  $|\\partial L_i / \\partial s_{{i{kind[0]}}}|$")
    figure.supxlabel("similarity $s$ of the moved pair to the anchor; its other pairs stay", fontsize=10)
    figure.suptitle(
        "Response to one pair: blue is a pull, dashed orange a push, "
        f"thin grey {_REFERENCE}; shaded: the pair is hard\n"
        f"{surroundings.num_positives} positives, {surroundings.num_negatives} negatives, temperature "
        f"{temperature:g}; TCL: k1 = 5000, k2 = 1; NT-Xent: without labels; "
        f"SigLIP: scale {1 / temperature:g}, bias -10",
        fontsize=10,
    )
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _by_sign(axes: Any, similarity: np.ndarray, curve: np.ndarray) -> None:
    for sign, text, style in (
        (-1.0, "pull", dict(color="#0072B2", linestyle="-")),
        (1.0, "push", dict(color="#D55E00", linestyle=(0, (4, 1.2)))),
    ):
        part = np.where(sign * curve > 0, np.abs(curve), np.nan)
        axes.plot(similarity, part, linewidth=2.4, **style)
        seen = np.flatnonzero(part > 3 * _LEAST)
        if len(seen):
            place = seen[len(seen) // 2]
            rises = part[place] > 1.02 * part[place - 1]
            axes.annotate(
                text,
                (similarity[place], part[place]),
                xytext=(-7, 5),
                textcoords="offset points",
                ha="right" if rises else "center",
                fontsize=9,
                color=style["color"],
            )
