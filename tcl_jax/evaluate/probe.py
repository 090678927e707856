"""A linear classifier on top of the frozen encoder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from tqdm import tqdm

from tcl_jax.augment.views import Views
from tcl_jax.data import Batch, Split, steps_per_epoch, train_batches
from tcl_jax.evaluate.arguments import (
    check_above_zero,
    check_count,
    check_features,
    check_labels,
    check_split,
)
from tcl_jax.evaluate.standardise import Standardisation, standardisation, standardise
from tcl_jax.models import ContrastiveModel, LinearClassifier
from tcl_jax.parallel import DATA_AXIS, local_rows, replicate, split_batch
from tcl_jax.train.learning_rate import learning_rates
from tcl_jax.train.optimizer import descend, sgd
from tcl_jax.train.state import PROBE_STREAM, stream_key

if TYPE_CHECKING:
    from jaxtyping import Float, Int32

# With this decay the usual number of epochs comes to the minimum. Stopped on the way there a classifier can be worse
# than with less decay and with more.
_OPTIMIZER = sgd(momentum=0.9, weight_decay=2e-3, decay="kernels")

# Root mean square of the length of a row. The largest learning rate that is stable falls with the square of the length,
# which for deviation 1 would be the number of features: so one rate serves any of them.
_LENGTH = 12.0


class ProbeSettings(NamedTuple):
    """epochs, learning_rate, batch_size: of the classifier, the latter over all devices."""

    epochs: int
    learning_rate: float
    batch_size: int


class _ProbeState(NamedTuple):
    params: Any
    opt_state: Any


def linear_probe(*arguments: Any, **options: Any) -> tuple[Int32[np.ndarray, " m"], list[float]]:
    """Classes of the test images by a linear classifier trained on augmented training images.

    Arguments and errors are those of `linear_probe_logits`.

    Returns:
      classes, int32 [m], those of the largest logits, of equal ones the smaller; and the mean training loss of each
      epoch.
    """
    logits, losses = linear_probe_logits(*arguments, **options)
    return np.argmax(logits, axis=1).astype(np.int32), losses


def linear_probe_logits(
    model: ContrastiveModel,
    variables: Mapping[str, Any],
    split: Split,
    test_features: Float[np.ndarray, "m f"],
    *,
    train_features: Float[np.ndarray, "n f"],
    views: Views,
    num_classes: int,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
    mesh: Mesh,
) -> tuple[Float[np.ndarray, "m {num_classes}"], list[float]]:
    """Logits of the test images by a linear classifier trained on augmented training images.

    The classifier alone is trained; the encoder runs with its running statistics, and neither they nor its parameters
    change. Features h are standardised and then scaled, so that their scale, offset and number hardly matter:

        x = 12 (h - mean) / (deviation sqrt(f))

    with mean and deviation of each of the f features over the training images as they are; a constant feature has
    deviation 1. SGD with momentum 0.9 and a cosine schedule begins at W = 0, b = 0 and minimises

        mean_i -log softmax(x_i W + b)[y_i] + 0.002 / 2 |W|^2

    over the views of the n images; at a learning rate of 0.5 a thousand steps come to its minimum. Without
    augmentation it is the objective of scikit-learn's LogisticRegression(C=1 / (0.002 n)) on x, and that of
    `logistic_regression_predict` at a strength of f / 72,000.

    Args:
      variables: "params" and "batch_stats" of the model.
      split: the training images and labels.
      test_features: floating [m, f], from `extract_features`.
      train_features: floating [n, f], of the images of `split`, from there too.
      views: from `make_views`, with a single policy.
      num_classes: labels are 0 to num_classes - 1.
      epochs, learning_rate, batch_size: of the classifier; images per step over all devices.
      seed: of the order of the images and their views.

    Returns:
      logits, float32 [m, num_classes]; and the classifier's mean training loss in each epoch.

    Raises:
      ValueError: an argument has another form, or features that are not finite.
    """
    batch_size = check_split(split, batch_size, mesh)
    num_classes, epochs = check_count("num_classes", num_classes), check_count("epochs", epochs)
    learning_rate = check_above_zero("learning_rate", learning_rate)
    check_labels("The labels of split", split.labels, num_classes=num_classes)
    train = check_features("train_features", train_features, rows=len(split.labels))
    test = check_features("test_features", test_features, width=train.shape[1])
    scaling = _scaling(train)
    per_epoch = steps_per_epoch(len(split.labels), batch_size, field="batch_size")
    rates = learning_rates(learning_rate, total_steps=epochs * per_epoch, field="learning_rate")
    views_key = stream_key(seed, PROBE_STREAM)
    classifier, step = LinearClassifier(num_classes), _compile_step(model, views, num_classes, mesh)
    params = jax.tree.map(jnp.zeros_like, classifier.init(views_key, jnp.asarray(test[:1]))["params"])
    on_devices = replicate(scaling, mesh)
    state = replicate(_ProbeState(params, _OPTIMIZER.init(params)), mesh)
    with tqdm(
        total=epochs * per_epoch * batch_size,
        unit=" images",
        unit_scale=True,
        dynamic_ncols=True,
        desc="Linear probe",
    ) as bar:
        losses = []
        for epoch in range(epochs):
            of_epoch = []
            batches = train_batches(
                split, batch_size, seed=seed, epoch=epoch, rows=local_rows(batch_size, mesh)
            )
            for number, batch in enumerate(batches):
                rate = rates[epoch * per_epoch + number]
                state, loss = step(
                    state, variables, on_devices, split_batch(batch, mesh), rate, views_key, np.int32(epoch)
                )
                of_epoch.append(loss)
            losses.append(float(np.mean(jax.device_get(of_epoch), dtype=np.float64)))
            bar.set_postfix_str(f"loss {losses[-1]:.4f}", refresh=False)
            bar.update(per_epoch * batch_size)
    logits = jax.jit(lambda params, x: classifier.apply({"params": params}, x))(
        state.params, standardise(test, scaling)
    )
    return np.asarray(logits), losses


def _scaling(features: np.ndarray) -> Standardisation:
    """That after which rows have a root mean square length of _LENGTH."""
    mean, deviation = standardisation(features)
    return Standardisation(mean, deviation * (np.sqrt(features.shape[1]) / _LENGTH).astype(deviation.dtype))


@functools.lru_cache(maxsize=1)  # the members of a sweep are evaluated one after the other by one program
def _compile_step(
    model: ContrastiveModel, views: Views, num_classes: int, mesh: Mesh
) -> Callable[..., tuple[_ProbeState, jax.Array]]:
    """The function (state, variables, scaling, batch, learning rate, key of the views, epoch) -> (state, loss)."""
    classifier = LinearClassifier(num_classes)

    def device_step(
        state: _ProbeState,
        variables: Mapping[str, Any],
        scaling: Standardisation,
        batch: Batch,
        rate: jax.Array,
        key: jax.Array,
        epoch: jax.Array,
    ) -> tuple[_ProbeState, jax.Array]:
        images = views(jax.random.fold_in(key, epoch), batch.images, batch.indices)
        features = standardise(model.apply(variables, images, train=False, method="encode"), scaling)

        def loss_of(params: Any) -> jax.Array:
            logits = classifier.apply({"params": params}, features)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
            return lax.pmean(jnp.mean(losses), DATA_AXIS)

        loss, gradients = jax.value_and_grad(loss_of)(state.params)
        direction, opt_state = _OPTIMIZER.update(gradients, state.opt_state, state.params)
        return _ProbeState(descend(state.params, direction, rate), opt_state), loss

    specs = (P(), P(), P(), P(DATA_AXIS), P(), P(), P())
    mapped = jax.shard_map(device_step, mesh=mesh, in_specs=specs, out_specs=(P(), P()))
    return jax.jit(mapped, donate_argnums=0)
