"""How long training goes on, and how often it logs and saves."""

from typing import NamedTuple


class Schedule(NamedTuple):
    """What the runs that train together have in common.

    Attributes:
      batch_size: images per step, over all devices.
      micro_batches: parts of a batch that go through the model one after the other.
      num_views: views of each image.
      epochs: passes over the training split.
      steps_per_epoch: steps of each.
      log_every_steps: steps that one record of the curve covers, fewer at the end of an epoch.
      checkpoint_every_epochs: epochs between checkpoints; the last epoch always ends with one.
      images_per_class: in a batch, as for `tcl_jax.data.train_batches`; 0 for batches in random order.
      padding: rows of a batch without an image, on average over epochs.
    """

    batch_size: int
    micro_batches: int
    num_views: int
    epochs: int
    steps_per_epoch: int
    log_every_steps: int
    checkpoint_every_epochs: int
    images_per_class: int = 0
    padding: int = 0

    @property
    def images_at_once(self) -> int:
        """Images that go through the model together, over all devices."""
        return self.batch_size // self.micro_batches

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return self.epochs * self.steps_per_epoch

    @property
    def views_per_step(self) -> int:
        """Views of images, on average over epochs."""
        return (self.batch_size - self.padding) * self.num_views

    def logs_after(self, step: int) -> bool:
        """Whether a record ends with this step, counted from 1."""
        in_epoch = (step - 1) % self.steps_per_epoch + 1
        return in_epoch % self.log_every_steps == 0 or in_epoch == self.steps_per_epoch

    def saves_after(self, epochs: int) -> bool:
        """Whether a checkpoint is taken after a number of epochs."""
        return epochs % self.checkpoint_every_epochs == 0 or epochs == self.epochs
