"""A trained encoder in somebody else's program: images in, features out; no data set, no config."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh

from tcl_jax.encoder import weights
from tcl_jax.encoder.exported import PROJECTION, read_exported
from tcl_jax.encoder.from_run import read_trained
from tcl_jax.encoder.trained_encoder import TrainedEncoder
from tcl_jax.errors import UserError
from tcl_jax.models.description import EncoderDescription
from tcl_jax.models.encode import make_apply, make_apply_head, make_encode
from tcl_jax.models.tensor_file import SUFFIX
from tcl_jax.parallel import local_rows, make_mesh, split_batch
from tcl_jax.run.workdir import Workdir

if TYPE_CHECKING:
    from jaxtyping import Array, ArrayLike, Float32, Real, UInt8


class Encoder:
    """A trained encoder: uint8 images [n, h, w, c] -> features float32 [n, f], on all devices.

    Images go in as they are, without augmentation; the features are those that evaluation computes. Made by
    `load_encoder`.

    Attributes:
      image_shape: (h, w, c), pixels, of the images that it takes.
      feature_dim: f.
      projection_dim: d, length of a projection; None without a projection head.
      mean, std: [c], of the training pixels divided by 255; images are normalised by them within.
      class_names: of the data it was trained on, by label.
      config_name, step: of the run, and its updates until this checkpoint.
      description: all fields of an exported file's description, such as model and loss.
      variables: of the encoder as a Flax module, "params" and, if there are any, "batch_stats".
    """

    def __init__(self, trained: TrainedEncoder, mesh: Mesh):
        description = trained.description
        self.description: EncoderDescription = description
        self.image_shape = description.image_shape
        self.mean, self.std = description.mean, description.std
        self.class_names = description.class_names
        self.config_name, self.step = description.config_name, description.step
        self._variables, self._mesh = trained.variables, mesh
        self._apply = make_apply(trained.model, mean=description.mean, std=description.std)
        self._encode = make_encode(trained.model, mean=description.mean, std=description.std, mesh=mesh)
        self.variables = trained.encoder_variables
        self._apply_head = make_apply_head(trained.model, mesh)
        image = jax.ShapeDtypeStruct((mesh.size, *description.image_shape), np.uint8)
        features = jax.eval_shape(self._encode, self._variables, image)
        self.feature_dim: int = features.shape[1]
        self.projection_dim: int | None = (
            trained.model.head.projection_dim if trained.has_projection else None
        )

    def __call__(
        self, images: UInt8[ArrayLike, "n h w c"], *, batch_size: int = 128
    ) -> Float32[np.ndarray, "n {self.feature_dim}"]:
        """Features of images: float32 [n, f], not normalised.

        Args:
          images: uint8 [n, h, w, c], 0 to 255, of the size of `image_shape`; any number, 0 among them.
          batch_size: images at a time over all devices, rounded up to a multiple of their number; fewer images are
            padded to the next power of two. Each size is compiled once.

        Raises:
          UserError: other images, or a batch_size below 1.
        """
        return self._batched(self._encode, images, batch_size, self.feature_dim)

    def apply(
        self, variables: Mapping[str, Any], images: Real[ArrayLike, "n h w c"]
    ) -> Float32[Array, "n {self.feature_dim}"]:
        """Features of images as a pure function, for jax.jit, jax.grad and jax.vmap: float32 [n, f].

        It runs on the devices of its arguments, all images at once.

        Args:
          variables: as in `variables`, those or changed ones.
          images: [n, h, w, c], 0 to 255, which it normalises; uint8, or float where their gradient is wanted.

        Raises:
          UserError: images of another shape.
        """
        self._check_shape(np.shape(images))
        return self._apply(variables, images)

    def project(
        self, images: UInt8[ArrayLike, "n h w c"], *, batch_size: int = 128
    ) -> Float32[np.ndarray, "n {self.projection_dim}"]:
        """Projections of images, which the contrastive loss compares: float32 [n, d], rows of unit length.

        Arguments and errors are those of a call.

        Raises:
          UserError: an encoder without a projection head: after training with cross-entropy, or an exported one
            without projection.safetensors of the same export beside it.
        """
        if self.projection_dim is None:
            raise UserError(
                f"This encoder has no projection head: it was trained with {self.description.loss}, or exported, and "
                f"{PROJECTION} of the same export is not beside it: use its features, or put the file there."
            )

        def project(variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
            return self._apply_head(variables, self._encode(variables, images))

        return self._batched(project, images, batch_size, self.projection_dim)

    def from_files(
        self, paths: Iterable[str | os.PathLike[str]], *, batch_size: int = 128
    ) -> Float32[np.ndarray, "n {self.feature_dim}"]:
        """Features of image files: float32 [n, f], in their order, with a progress bar.

        Images of any size are scaled and cut as `data.image_size` does in training, turned upright, and made grey or
        colour as the encoder needs it; an encoder of images that are not square takes files of that size alone.
        No more than `batch_size` images are in memory.

        Args:
          paths: of files that Pillow reads.
          batch_size: as in a call.

        Raises:
          UserError: a file that cannot be read, which is named, or a batch_size below 1.
        """
        from tcl_jax.encoder.image_files import in_batches  # Pillow is loaded where files are read

        if isinstance(paths, str | bytes | os.PathLike):
            raise UserError(f"paths is {os.fspath(paths)!r}, expected a list of paths: put it into [ ].")
        _check_batch_size(batch_size)
        found = in_batches(
            functools.partial(self, batch_size=batch_size),
            list(paths),
            image_shape=self.image_shape,
            batch_size=batch_size,
        )
        return np.concatenate([np.zeros((0, self.feature_dim), np.float32), *found])

    def __repr__(self) -> str:
        height, width, channels = self.image_shape
        return (
            f"<Encoder {self.config_name}, step {self.step}: {self.description.model}, "
            f"images {height}x{width}x{channels} -> {self.feature_dim} features>"
        )

    def _batched(self, function: Any, images: Any, batch_size: int, columns: int) -> np.ndarray:
        images = self._checked(images)
        _check_batch_size(batch_size)
        if not len(images):
            return np.zeros((0, columns), np.float32)
        size = min(batch_size, 1 << (len(images) - 1).bit_length())
        size = -(-size // self._mesh.size) * self._mesh.size
        padding = np.zeros((-len(images) % size, *images.shape[1:]), np.uint8)
        padded = np.concatenate([images, padding])
        rows = local_rows(size, self._mesh)
        found = [
            np.asarray(function(self._variables, split_batch(padded[start + rows], self._mesh)))
            for start in range(0, len(padded), size)
        ]
        return np.concatenate(found)[: len(images)]

    def _checked(self, images: Any) -> np.ndarray:
        images = np.asarray(images)
        if images.dtype != np.uint8:
            raise UserError(
                f"images are {images.dtype}, expected uint8 with values 0 to 255: give the pixels as they are, "
                "neither scaled nor normalised."
            )
        self._check_shape(images.shape)
        return images

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4 or shape[1:] != self.image_shape:
            expected = ", ".join(str(side) for side in self.image_shape)
            raise UserError(
                f"images have the shape {list(shape)}, expected [n, {expected}], with which the encoder was trained: "
                "resize them, convert them to colour or grey, or add a first axis."
            )


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}, expected 1 or more: give a larger one.")


def load_encoder(path: str | os.PathLike[str], *, checkpoint: str = "latest") -> Encoder:
    """The trained encoder of a run, one that was exported, or one that comes with the package; no data are needed.

    Where a moving average of the weights is kept (train.ema_decay), that is the encoder. The run may be in training: it
    is read, and not touched. The number of devices may be another than in training.

    Args:
      path: workdir of a run, an encoder.safetensors of --mode=export, or the name of an encoder that comes with the
        package, unless such a path exists: "digits_tcl" or "fashion_mnist_tcl".
      checkpoint: of a run, "latest" or "best", the one with the highest kNN accuracy of the held-out images.

    Raises:
      UserError: no encoder at `path`, or no such checkpoint.
      RunFailed: the checkpoints of the run cannot be read.
    """
    mesh = make_mesh()
    workdir = Workdir(weights.path_of(path))
    if workdir.path.suffix == SUFFIX or workdir.path.is_file():
        if checkpoint != "latest":
            raise UserError(
                f"checkpoint is {checkpoint!r}, but {workdir.path} is an exported encoder, which holds one alone: "
                "leave it out, or give the workdir of the run."
            )
        return Encoder(read_exported(workdir.path, mesh), mesh)
    if not workdir.config.exists():
        raise UserError(
            f"{workdir.path} does not hold an encoder: give the workdir of a run, which has a config.json, an "
            f"encoder{SUFFIX} of --mode=export, or one of {', '.join(weights.known())}."
        )
    return Encoder(read_trained(workdir, checkpoint=checkpoint, mesh=mesh), mesh)
