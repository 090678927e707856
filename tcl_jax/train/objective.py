"""What the step minimises: a table of losses by name, and the user's own."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from tcl_jax import losses
from tcl_jax.data import Batch
from tcl_jax.errors import UserError
from tcl_jax.losses.arguments import BlockSize
from tcl_jax.parallel import DATA_AXIS
from tcl_jax.resolve import arguments_of, resolve
from tcl_jax.train.queue import NOT_COUNTED
from tcl_jax.train.state import Hyper

LABEL_KINDS = ("class", "image")
CLASS_WEIGHTS = ("none", "balanced")
SETTINGS = ("temperature", "k1", "k2")
"""Config fields of a loss that the step takes as traced values."""

OF_ANY_PROJECTIONS = ("positive_similarity", "negative_similarity", "alignment", "uniformity", "rank")
"""The diagnostics that do not depend on the loss."""


class Loss(NamedTuple):
    """A row of the table of losses.

    Attributes:
      function: (rows [v b, d], labels int [v b]) -> scalar, inside shard_map. Of `SETTINGS`, num_views, axis_name,
        block_size, weights and references it is handed by keyword those that it names. With axis_name, rows, labels,
        weights and references are this device's, view by view, and the value is of all devices; without, they are
        whole. Weights [v b] are 0 for rows without an image, and for others 1 or that of their class; None where all
        are 1. References are (embeddings [m, d], labels [m], weights [m]), rows of past batches with their labels and a
        weight of 0 for those that do not count; None without a queue.
      head: what makes the rows: a "projection" head (rows of unit length) or a "classifier" (logits).
      by_image: whether images are their own classes, whatever loss.labels says.
      coefficients: hyper -> (k1, k2) with which `tcl_jax.losses.diagnostics` describes the gradient; None for none.
    """

    function: Callable[..., Any]
    head: str = "projection"
    by_image: bool = False
    coefficients: Callable[[Hyper], tuple[Any, Any]] | None = None

    @property
    def settings(self) -> tuple[str, ...]:
        """Those of `SETTINGS` that have an effect."""
        return tuple(name for name in SETTINGS if name in self.takes)

    @property
    def takes(self) -> frozenset[str]:
        """Arguments that the function is handed by keyword."""
        names = (*SETTINGS, "num_views", "axis_name", "block_size", "weights", "references")
        available = dict.fromkeys(names)
        return frozenset(_options(self, available))


class Objective(NamedTuple):
    """A loss for the training step.

    Attributes:
      loss: (output of the model [v b, d] of this device, its batch, hyper, references of a `Queue` or None) -> scalar,
        of the global batch and the references.
      diagnostics: (output, batch, hyper, references of a `Queue` or None) -> numbers of the global batch by name:
        "collapsed_loss", what the loss would be of one output for all images and references, a unit vector or equal
        logits, where it is known that a loss that learns falls below that; and of projections their
        `tcl_jax.losses.Diagnostics`, references left out, of a loss without coefficients `OF_ANY_PROJECTIONS` alone.
      of_all_devices: (output, batch) -> rows [v b, d] and labels [v b] of the global batch in its order, view by view;
        the label of a row without an image is `tcl_jax.train.queue.NOT_COUNTED`.
      head: "projection" or "classifier".
      by_class: whether it learns from the classes of images.
      takes: arguments that the loss is handed by keyword.
    """

    loss: Callable[..., jax.Array]
    diagnostics: Callable[..., dict[str, jax.Array]]
    of_all_devices: Callable[[jax.Array, Batch], tuple[jax.Array, jax.Array]]
    head: str
    by_class: bool
    takes: frozenset[str]


def _cross_entropy(
    logits: jax.Array, labels: jax.Array, *, axis_name: str, weights: jax.Array | None
) -> jax.Array:
    each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if weights is None:
        return lax.pmean(jnp.mean(each), axis_name)
    total, count = lax.psum((jnp.sum(weights * each), jnp.sum(weights)), axis_name)
    return total / count


LOSSES = {
    "tcl": Loss(losses.tcl_loss, coefficients=lambda hyper: (hyper.k1, hyper.k2)),
    "supcon": Loss(losses.supcon_loss, coefficients=lambda hyper: (0.0, 1.0)),
    "ntxent": Loss(losses.supcon_loss, by_image=True, coefficients=lambda hyper: (0.0, 1.0)),
    "cross_entropy": Loss(_cross_entropy, head="classifier"),
}
"""Losses by name."""


def make_objective(
    name: str,
    *,
    labels: str,
    num_views: int,
    micro_batches: int = 1,
    block_size: BlockSize = "auto",
    weighted: bool = False,
    class_weights: str = "none",
) -> Objective:
    """The objective called `name`, for views stacked view by view.

    Args:
      name: one of `LOSSES`, or "module:attribute" of the user's own: a `Loss`, or the function of one, which then takes
        projections.
      labels: what makes two rows positives of each other: "class", or "image" for training without class labels (which
        "ntxent" always is).
      num_views: views of each image.
      micro_batches: parts of the batch, as for `tcl_jax.parallel.local_rows`, which say where its images lie.
      block_size: rows of a tile, as in `tcl_jax.losses.tcl_loss`; "auto" goes by the devices present.
      weighted: whether rows may be without an image, by the weights of the batch.
      class_weights: one of `CLASS_WEIGHTS`; "balanced" makes the objective ready for `weigh_classes`.

    Raises:
      UserError: an unknown name, a loss that takes no weights where rows have some, too few views for positives to
        exist, or labels or weights of classes that the objective cannot use.
    """
    loss = find_loss(name)
    if labels not in LABEL_KINDS:
        raise UserError(f"loss.labels is '{labels}', expected one of {', '.join(LABEL_KINDS)}.")
    if loss.head == "classifier" and labels == "image":
        raise UserError(f"The loss '{name}' learns classes, but loss.labels is 'image': set it to 'class'.")
    if weighted and "weights" not in loss.takes:
        raise UserError(
            f"data.images_per_class leaves rows of a batch without an image, but the loss '{name}' takes no 'weights', "
            "by which it would leave them out: name that argument, or set data.images_per_class to 0."
        )
    by_image = loss.by_image or labels == "image"
    if class_weights not in CLASS_WEIGHTS:
        raise UserError(
            f"loss.class_weights is '{class_weights}', expected one of {', '.join(CLASS_WEIGHTS)}."
        )
    if class_weights != "none" and by_image:
        raise UserError(
            f"loss.class_weights is '{class_weights}', but the loss '{name}' with loss.labels '{labels}' learns images "
            "and not classes: set it to 'none'."
        )
    if class_weights != "none" and "weights" not in loss.takes:
        raise UserError(
            f"loss.class_weights is '{class_weights}', but the loss '{name}' takes no 'weights', by which it would "
            "weigh classes: name that argument, or set loss.class_weights to 'none'."
        )
    weighted = weighted or class_weights != "none"
    if num_views < (2 if by_image else 1):
        raise UserError(
            f"augment.views names {num_views} views, too few for the loss '{name}' with loss.labels '{labels}': "
            "name one policy for each view, at least two where images are their own classes."
        )

    def ids(batch: Batch) -> jax.Array:
        # Positions in the split are what images of the global batch differ in.
        return jnp.tile(jnp.asarray(batch.indices if by_image else batch.labels), num_views)

    def weights_of(batch: Batch) -> jax.Array:
        return jnp.tile(jnp.asarray(batch.weights), num_views)

    def of_batch(
        outputs: jax.Array, batch: Batch, hyper: Hyper, references: tuple[jax.Array, ...] | None = None
    ) -> jax.Array:
        settings = {setting: getattr(hyper, setting) for setting in SETTINGS}
        given = _options(
            loss,
            {
                **settings,
                "num_views": num_views,
                "axis_name": DATA_AXIS,
                "block_size": block_size,
                "weights": weights_of(batch) if weighted else None,
                "references": references,
            },
        )
        if "axis_name" in given:
            if given.get("references"):
                given["references"] = tuple(map(_of_this_device, given["references"]))
            value = loss.function(outputs, ids(batch), **given)
        else:
            rows, labels = (in_order(x) for x in (outputs, ids(batch)))
            if given.get("weights") is not None:
                given["weights"] = in_order(given["weights"])
            value = lax.pmean(loss.function(rows, labels, **given), DATA_AXIS)
        if jnp.shape(value):
            raise UserError(
                f"The loss '{name}' of loss.name gives an array of shape {list(jnp.shape(value))}, expected a scalar: "
                "take the mean."
            )
        return value

    def in_order(x: jax.Array, to: str = "varying") -> jax.Array:
        """The rows of all devices in the order of the global batch, of each device's rows view by view."""
        gathered = lax.all_gather(x, DATA_AXIS, to=to)
        parts = gathered.reshape(len(gathered), num_views, micro_batches, -1, *x.shape[1:])
        return jnp.moveaxis(parts, 0, 2).reshape(-1, *x.shape[1:])

    def of_all_devices(outputs: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        labels = ids(batch)
        if weighted:
            labels = jnp.where(weights_of(batch) > 0, labels, NOT_COUNTED)
        return in_order(outputs, to="invarying"), in_order(labels, to="invarying")

    def collapsed(outputs: jax.Array) -> jax.Array:
        row = jnp.zeros_like(outputs[0]).at[0].set(1.0 if loss.head == "projection" else 0.0)
        return jnp.broadcast_to(row, outputs.shape)

    def diagnostics(
        outputs: jax.Array, batch: Batch, hyper: Hyper, references: tuple[jax.Array, ...] | None = None
    ) -> dict[str, jax.Array]:
        numbers = {}
        # Of other losses it may be the optimum, as of the negative similarity of positives.
        if loss.coefficients is not None or name in LOSSES:
            if references is not None:
                references = collapsed(references[0]), *references[1:]
            numbers["collapsed_loss"] = of_batch(collapsed(outputs), batch, hyper, references)
        if loss.head != "projection":
            return numbers
        k1, k2 = (0.0, 1.0) if loss.coefficients is None else loss.coefficients(hyper)
        found = losses.diagnostics(
            outputs,
            ids(batch),
            temperature=hyper.temperature,
            k1=k1,
            k2=k2,
            weights=weights_of(batch) if weighted else None,
            axis_name=DATA_AXIS,
            block_size=block_size,
        )
        known = losses.Diagnostics._fields if loss.coefficients is not None else OF_ANY_PROJECTIONS
        return numbers | {name: getattr(found, name) for name in known}

    return Objective(
        of_batch, diagnostics, of_all_devices, loss.head, by_class=not by_image, takes=loss.takes
    )


def balanced_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Weights of classes by which all of them count equally: w_c = n / (C n_c), whose mean over the images is 1.

    n_c is the number of images of class c, n their sum, and C the number of classes that have some. These are the
    weights of scikit-learn's class_weight="balanced".

    Args:
      labels: int [n], 0 to num_classes - 1.

    Returns:
      float32 [num_classes]; 0 for a class without images.

    >>> balanced_weights(np.array([0, 0, 0, 0, 1]), 2).tolist()
    [0.625, 2.5]
    """
    counts = np.bincount(labels, minlength=num_classes)
    weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts, weights, 0.0).astype(np.float32)


def weigh_classes(objective: Objective, weights: np.ndarray) -> Objective:
    """The objective in which a row weighs what its class does: as an anchor, or a classified image, in the mean.

        L = sum_i w_{c(i)} v_i L_i / sum_i w_{c(i)} v_i

    v_i is 0 for rows without an image and 1 for others. Rows that an anchor meets, of a queue too, weigh the same:
    the denominators of contrastive losses stay as they are.

    Args:
      objective: made with class_weights.
      weights: float [classes], above 0 for classes that have images; a constant of the program.
    """

    def weighed(batch: Batch) -> Batch:
        return batch._replace(weights=batch.weights * jnp.asarray(weights)[batch.labels])

    def loss(outputs: jax.Array, batch: Batch, *others: Any) -> jax.Array:
        return objective.loss(outputs, weighed(batch), *others)

    def diagnostics(outputs: jax.Array, batch: Batch, *others: Any) -> dict[str, jax.Array]:
        return objective.diagnostics(outputs, weighed(batch), *others)

    return objective._replace(loss=loss, diagnostics=diagnostics)


def find_loss(name: str) -> Loss:
    """The loss called `name`, as for `make_objective`.

    Raises:
      UserError: an unknown name, or a function that needs an argument it cannot be handed.
    """
    found = resolve(
        name, LOSSES, field="loss.name", example="my_loss.py with `def loss(rows, labels): ...` -> scalar"
    )
    loss = found if isinstance(found, Loss) else Loss(found)
    _ = loss.settings  # refuses a function that cannot be called so
    return loss


def _options(loss: Loss, available: dict[str, Any]) -> dict[str, Any]:
    return arguments_of(loss.function, available, field="loss.name", positional=2)


def _of_this_device(x: jax.Array) -> jax.Array:
    """An equal share of what is whole on every device."""
    size = len(x) // lax.axis_size(DATA_AXIS)
    return lax.dynamic_slice_in_dim(x, lax.axis_index(DATA_AXIS) * size, size)
