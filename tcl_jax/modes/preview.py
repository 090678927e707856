"""A picture of what the network will see: training images and views of them. Nothing is trained."""

import io
from typing import Any

import jax
import numpy as np

from tcl_jax.data import epoch_order
from tcl_jax.errors import UserError
from tcl_jax.modes.experiment import Experiment, build_experiment
from tcl_jax.modes.workdir import Workdir
from tcl_jax.report.contact_sheet import Column, contact_sheet
from tcl_jax.train.state import VIEWS_STREAM, stream_key

_ROWS = 10  # images
_EPOCHS = 4  # views of each image by each policy: those of the first epochs


def run(config: Any, workdir: Workdir, config_name: str) -> None:
    """Write preview.png into `workdir`, and nothing else; whether it holds a run, and which, does not matter.

    Raises:
      UserError: the config or the data cannot be used, or the picture cannot be written.
    """
    experiment = build_experiment(config)
    dataset = experiment.dataset
    height, width, channels = dataset.train.images.shape[1:]
    indices = first_of_classes(dataset.train.labels, _order(experiment), _ROWS)
    sheet = contact_sheet(
        f"{config_name}: {dataset.name}, {height}x{width}x{channels}, seed {experiment.seed}",
        [Column("original", "", dataset.train.images[indices]), *_view_columns(experiment, indices)],
        [dataset.class_names[label] for label in dataset.train.labels[indices]],
    )
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG")
    path = workdir.path / "preview.png"
    try:
        workdir.path.mkdir(parents=True, exist_ok=True)
        partial = path.parent / f"{path.name}.partial"
        partial.write_bytes(encoded.getvalue())
        partial.replace(path)  # at one stroke, so that a viewer never sees half of it
    except OSError as error:
        raise UserError(
            f"The picture {path} cannot be written ({error.strerror}): give another folder with --workdir."
        ) from error
    print(f"{len(indices)} training images of {dataset.name} and their views are in {path}")


def first_of_classes(labels: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """The first image of each class, then the second of each, and so on, until there are `count`.

    Args:
      labels: [n], of all images.
      order: positions in `labels`, of the images to choose from.
      count: of images wanted; fewer are given where `order` has fewer.

    Returns:
      positions in `labels`, in that order.

    >>> first_of_classes(np.array([0, 0, 0, 1, 1]), np.array([2, 1, 4, 3]), 3)
    array([2, 4, 1])
    """
    seen: dict[int, int] = {}
    rank = np.empty(len(order), int)  # how many of its class came before
    for place, label in enumerate(labels[order].tolist()):
        rank[place] = seen[label] = seen.get(label, -1) + 1
    return order[np.argsort(rank, kind="stable")[:count]]


def _order(experiment: Experiment) -> np.ndarray:
    """Positions of the images in the order in which the first epoch takes them."""
    train = experiment.training.division.train
    return train[epoch_order(len(train), seed=experiment.seed, epoch=0)]


def _view_columns(experiment: Experiment, indices: np.ndarray) -> list[Column]:
    """The views that training draws of these images in its first epochs, as it hands them to the network."""
    stream = stream_key(np.uint32(experiment.seed), VIEWS_STREAM)
    images = experiment.dataset.train.images[indices]
    draw = jax.jit(experiment.training.views)
    epochs = [
        _as_pictures(draw(jax.random.fold_in(stream, epoch), images, indices), experiment)
        for epoch in range(_EPOCHS)
    ]
    return [
        Column(
            f"view {view + 1}: {policy}", f"epoch {epoch + 1}", views[view * len(indices) :][: len(indices)]
        )
        for view, policy in enumerate(experiment.policy_names)
        for epoch, views in enumerate(epochs)
    ]


def _as_pictures(views: jax.Array, experiment: Experiment) -> np.ndarray:
    """Undo the normalisation: float [n, h, w, c] to uint8."""
    scaled = (np.asarray(views, np.float64) * experiment.facts.std + experiment.facts.mean) * 255
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
