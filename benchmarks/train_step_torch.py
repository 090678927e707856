"""The step in PyTorch for an experiment, and whether it is the same as ours."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import machine
from benchmarks.steps import without_augmentation
from tcl_jax.data import Batch
from tcl_jax.experiment.build import Experiment
from tcl_jax.experiment.program import Program
from tcl_jax.models import ResNet
from tcl_jax.models.layout import encoder_tensors, of_encoder
from tcl_jax.models.torchvision import TORCHVISION, head_tensors
from tcl_jax.parallel import replicate, split_batch
from tcl_jax.train.objective import find_loss
from tcl_jax.train.state import TrainState

# Of the first loss, and of the first update of all parameters: the norm of the difference by the norm.
_LOSS_TOLERANCE, _UPDATE_TOLERANCE = 1e-4, 0.05
_CHECKED_IMAGES = 64
_CHECKED_RATE = 0.01


def reason_against(experiment: Experiment) -> str | None:
    """Why the step in PyTorch is left out, or None."""
    config, mesh = experiment.config, experiment.mesh
    if reason := machine.missing(("torch",)):
        return reason.replace("torch is", "PyTorch is")
    if jax.default_backend() not in ("cpu", "gpu"):
        return "PyTorch would run on the CPU here, which is not compared with other devices"
    if mesh.size > 1:
        return f"PyTorch's step is for one device, ours ran on {mesh.size}"
    ours_alone = {
        "model.name": not isinstance(experiment.program.model.encoder, ResNet),
        "loss.name": find_loss(config.loss.name).coefficients is None,
        "train.optimizer": config.train.optimizer != "sgd",
        "train.decay": config.train.decay != "all",
        "train.ema_decay": experiment.program.keeps_average,
        "train.micro_batch_size": experiment.program.schedule.micro_batches > 1,
        "model.remat": config.model.remat,
    }
    used = [field for field, is_used in ours_alone.items() if is_used]
    return f"PyTorch's step here does not know this {', '.join(used)}" if used else None


def check(experiment: Experiment, batch: Batch) -> dict[str, float]:
    """How far the first loss and the first update in PyTorch are from ours, in float32.

    Raises:
      SystemExit: too far.
    """
    few = min(_CHECKED_IMAGES, len(batch.labels))
    batch = Batch(*(array[:few] for array in batch))
    encoder = experiment.program.parts.encoder.clone(dtype=None)
    program = without_augmentation(experiment, encoder=encoder)
    theirs = make_step(experiment, program, batch, learning_rate=_CHECKED_RATE, compiled=False)
    seed, mesh, rate = experiment.settings.seed, experiment.mesh, np.float32(_CHECKED_RATE)
    before = _torch_names(program.initial_state(seed))
    hyper = replicate(experiment.settings.hyper._replace(learning_rate=rate), mesh)
    state, metrics = program.step(program.initial_state(seed), split_batch(batch, mesh), hyper)
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
    experiment: Experiment, program: Program, batch: Batch, *, learning_rate: float, compiled: bool
) -> Any:
    """The step in PyTorch from the initial weights of `program` and in its precision."""
    from benchmarks.torch_network import Step

    config, facts, hyper = experiment.config, experiment.facts, experiment.settings.hyper
    encoder, loss = program.model.encoder, find_loss(config.loss.name)
    k1, k2 = map(float, loss.coefficients(hyper))
    return Step(
        *_torch_names(program.initial_state(experiment.settings.seed)),
        batch.images,
        batch.indices if loss.by_image or config.loss.labels == "image" else batch.labels,
        network={
            "depth": encoder.depth,
            "stem": encoder.stem,
            "width": encoder.width,
            "channels": facts.image_shape[-1],
        },
        loss={"temperature": float(hyper.temperature), "k1": k1, "k2": k2},
        sgd={
            "lr": learning_rate,
            "momentum": config.train.momentum,
            "weight_decay": config.train.weight_decay,
        },
        num_views=program.schedule.num_views,
        mean=facts.mean,
        std=facts.std,
        narrow=encoder.dtype == jnp.bfloat16,
        compiled=compiled,
    )


def _torch_names(state: TrainState) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Tensors of encoder and head, by torchvision's names."""
    variables = jax.device_get(state.variables)
    encoder = encoder_tensors(of_encoder(variables), TORCHVISION, num_batches=0)
    return encoder, head_tensors(variables["params"]["head"])
