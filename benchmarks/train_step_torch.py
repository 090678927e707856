"""The step in PyTorch for an experiment, and whether it is the same as ours."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import machine
from benchmarks.steps import is_contrastive
from benchmarks.train_step_variants import with_settings
from tcl_jax.data import Batch
from tcl_jax.experiment.build import Experiment, Training, build_training
from tcl_jax.models.torchvision import encoder_tensors, head_tensors
from tcl_jax.parallel import replicate, split_batch

# Of the first loss, and of the first update of all parameters: the norm of the difference by the norm.
_LOSS_TOLERANCE, _UPDATE_TOLERANCE = 1e-4, 0.05
_CHECKED_IMAGES = 64
_CHECKED_RATE = 0.01


def reason_against(config: ConfigDict, parts: Experiment) -> str | None:
    """Why the step in PyTorch is left out, or None."""
    if reason := machine.missing(("torch",)):
        return reason.replace("torch is", "PyTorch is")
    if jax.default_backend() not in ("cpu", "gpu"):
        return "PyTorch would run on the CPU here, which is not compared with other devices"
    if parts.mesh.size > 1:
        return f"PyTorch's step is for one device, ours ran on {parts.mesh.size}"
    ours_alone = {
        "loss.name": not is_contrastive(config),
        "train.optimizer": config.train.optimizer != "sgd",
        "train.decay": config.train.decay != "all",
        "train.ema_decay": config.train.ema_decay > 0,
        "train.micro_batch_size": parts.training.course.micro_batches > 1,
        "model.remat": config.model.remat,
    }
    used = [field for field, is_used in ours_alone.items() if is_used]
    return f"PyTorch's step here does not know this {', '.join(used)}" if used else None


def check(config: ConfigDict, parts: Experiment, batch: Batch) -> dict[str, float]:
    """How far the first loss and the first update in PyTorch are from ours, in float32.

    Raises:
      SystemExit: too far.
    """
    few = min(_CHECKED_IMAGES, len(batch.labels))
    batch = Batch(*(array[:few] for array in batch))
    views = ("none",) * parts.training.course.num_views
    plain = with_settings(config, views=views, precision="float32", batch_size=few)
    training = build_training(plain, parts.facts, parts.mesh)
    theirs = make_step(config, parts, training, batch, compiled=False)
    before = _torch_names(training.initial_state())
    hyper = replicate(training.hyper._replace(learning_rate=np.float32(_CHECKED_RATE)), parts.mesh)
    state, metrics = training.step(training.initial_state(), split_batch(batch, parts.mesh), hyper)
    loss, reference = float(metrics["loss"]), float(theirs.run())
    difference, length = 0.0, 0.0
    for old, ours, other in zip(before, _torch_names(state), theirs.parameters(), strict=True):
        for name, value in other.items():
            difference += float(np.sum((ours[name] - value) ** 2, dtype=np.float64))
            length += float(np.sum((ours[name] - old[name]) ** 2, dtype=np.float64))
    found = {
        "images": few,
        "loss": loss,
        "loss_difference": abs(loss - reference) / abs(loss),
        "loss_tolerance": _LOSS_TOLERANCE,
        "update_difference": (difference / length) ** 0.5,
        "update_tolerance": _UPDATE_TOLERANCE,
    }
    # Put this way, NaN does not pass either.
    if not (found["loss_difference"] <= _LOSS_TOLERANCE and found["update_difference"] <= _UPDATE_TOLERANCE):
        raise SystemExit(f"error: the step in PyTorch is not ours, so that they are not compared: {found}")
    return found


def make_step(
    config: ConfigDict, parts: Experiment, training: Training, batch: Batch, *, compiled: bool
) -> Any:
    """The step in PyTorch from the initial weights of `training` and in its precision.

    That of the experiment's own training is to be timed, and leaves the weights as they are.
    """
    from benchmarks.torch_network import Step

    encoder, loss, tcl = training.model.encoder, config.loss, config.loss.name == "tcl"
    timed = training is parts.training
    return Step(
        *_torch_names(training.initial_state()),
        batch.images,
        batch.indices if loss.name == "ntxent" or loss.labels == "image" else batch.labels,
        network={
            "depth": encoder.depth,
            "stem": encoder.stem,
            "width": encoder.width,
            "channels": parts.facts.image_shape[-1],
        },
        loss={"temperature": loss.temperature, "k1": loss.k1 if tcl else 0.0, "k2": loss.k2 if tcl else 1.0},
        sgd={
            "lr": 0.0 if timed else _CHECKED_RATE,
            "momentum": config.train.momentum,
            "weight_decay": config.train.weight_decay,
        },
        num_views=training.course.num_views,
        mean=parts.facts.mean,
        std=parts.facts.std,
        narrow=encoder.dtype == jnp.bfloat16,
        compiled=compiled,
    )


def _torch_names(state: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Tensors of encoder and head, by torchvision's names."""
    variables = jax.device_get(state.variables)
    encoder = {kind: variables[kind]["encoder"] for kind in ("params", "batch_stats")}
    return encoder_tensors(encoder, num_batches=0), head_tensors(variables["params"]["head"])
