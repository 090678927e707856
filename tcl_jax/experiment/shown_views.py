"""Training images and their augmented views, for people to see: the very ones that training hands to the network."""

import jax
import numpy as np

from tcl_jax.data import epoch_order
from tcl_jax.experiment.build import Experiment
from tcl_jax.report.contact_sheet import Column
from tcl_jax.report.samples import first_of_classes
from tcl_jax.train.state import VIEWS_STREAM, stream_key


def shown_views(experiment: Experiment, *, images: int, epochs: int) -> tuple[list[Column], list[str]]:
    """Images as they are and their views in the first epochs, side by side; and the names of their classes.

    Args:
      images: so many, or all where there are fewer: the first of each class in the order of the first epoch, then the
        second of each.
      epochs: views of each image by each policy.
    """
    dataset, train = experiment.dataset, experiment.training.division.train
    order = train[epoch_order(len(train), seed=experiment.seed, epoch=0)]
    indices = first_of_classes(dataset.train.labels, order, images)
    pictures = dataset.train.images[indices]
    stream = stream_key(np.uint32(experiment.seed), VIEWS_STREAM)
    draw = jax.jit(experiment.training.views)
    drawn = [
        _as_pictures(draw(jax.random.fold_in(stream, epoch), pictures, indices), experiment)
        for epoch in range(epochs)
    ]
    columns = [Column("original", "", pictures)]
    for view, policy in enumerate(experiment.policy_names):
        for epoch, views in enumerate(drawn):
            of_view = views[view * len(indices) :][: len(indices)]
            columns.append(Column(f"view {view + 1}: {policy}", f"epoch {epoch + 1}", of_view))
    return columns, [dataset.class_names[label] for label in dataset.train.labels[indices]]


def _as_pictures(views: jax.Array, experiment: Experiment) -> np.ndarray:
    """Undo the normalisation: float [n, h, w, c] to uint8."""
    scaled = (np.asarray(views, np.float64) * experiment.facts.std + experiment.facts.mean) * 255
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
