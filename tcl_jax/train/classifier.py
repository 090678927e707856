"""A linear classifier of the encoder's features that is trained along: to be watched, or to train the encoder, too."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from tcl_jax.data import Batch
from tcl_jax.models import LinearClassifier
from tcl_jax.parallel import DATA_AXIS
from tcl_jax.train.optimizer import Optimizer


class ClassifierState(NamedTuple):
    """What is trained of it.

    Attributes:
      params: of a `LinearClassifier`.
      opt_state: the optimizer's of them.
    """

    params: Any
    opt_state: Any

    def step(self, optimizer: Optimizer, gradient: Any, learning_rate: Any) -> "ClassifierState":
        """The classifier after a step of the optimizer.

        Args:
          gradient: by `params`.
        """
        return ClassifierState(*optimizer.step(gradient, self.opt_state, self.params, learning_rate))


class ClassifierLoss(NamedTuple):
    """What a classifier adds to the loss of a step.

    Attributes:
      num_classes: labels are 0 to num_classes - 1.
      weight: of its cross-entropy in what the step minimises; 0 detaches it: it learns with weight 1, and the encoder
        does not learn from it.
    """

    num_classes: int
    weight: float

    def begin(self, features: Any, optimizer: Optimizer, key: jax.Array) -> ClassifierState:
        """The classifier before the first step.

        Args:
          features: an array or `jax.ShapeDtypeStruct` [..., f].
        """
        row = jnp.zeros((1, features.shape[-1]), features.dtype)
        params = LinearClassifier(self.num_classes).init(key, row)["params"]
        return ClassifierState(params, optimizer.init(params))

    def of(self, params: Any, features: jax.Array, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        """What to add to the loss of the global batch, and its metrics, scalars; inside shard_map.

        "classifier_loss" is the mean cross-entropy of all views of images, "classifier_accuracy" the share of them that
        are predicted right.

        Args:
          features: of the encoder [v b, f], view by view, of this device's batch.
        """
        views = len(features) // len(batch.labels)
        labels, weights = (jnp.tile(jnp.asarray(x), views) for x in (batch.labels, batch.weights))
        features = features if self.weight else lax.stop_gradient(features)
        logits: Any = LinearClassifier(self.num_classes).apply({"params": params}, features)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        right = jnp.argmax(logits, axis=-1) == labels
        loss, correct, count = lax.psum(
            tuple(jnp.sum(weights * x) for x in (each, right, jnp.ones_like(weights))), DATA_AXIS
        )
        metrics = {"classifier_loss": loss / count, "classifier_accuracy": correct / count}
        return (self.weight or 1.0) * metrics["classifier_loss"], metrics
