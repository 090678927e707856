"""How fast a training step is, where its time goes, and how fast the same step is in PyTorch.

    python -m benchmarks.train_step --config=configs/cifar10_tcl.py --config.data.data_dir=/data/tfds
    python -m benchmarks.train_step --config=configs/digits_tcl.py --steps=5

Takes turns between the whole step on real batches, the same on one batch that lies on the device, that without
augmentation or without the loss, the network's forward pass alone, and a step in PyTorch. The best of the rounds
counts. PyTorch, where it is installed, trains the same network with the same loss and optimizer in the same precision,
without augmentation; before it is timed, its loss and its update are compared with ours.
"""

import copy
import itertools
import json
import pathlib
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax import lax
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict, config_flags

from benchmarks import machine
from benchmarks.timing import interleave
from benchmarks.train_step_page import FORWARD, NO_AUGMENTATION, NO_LOSS, PLACED, PRODUCT, TORCH, WHOLE, page
from tcl_jax.data import Batch, train_batches
from tcl_jax.errors import UserError
from tcl_jax.models.torchvision import encoder_tensors, head_tensors
from tcl_jax.modes.accelerators import find_accelerator
from tcl_jax.modes.costs import product_flops
from tcl_jax.modes.experiment import Experiment, Training, build_experiment, build_training
from tcl_jax.parallel import DATA_AXIS, replicate, split_batch
from tcl_jax.train.objective import Objective
from tcl_jax.train.optimizer import make_optimizer
from tcl_jax.train.step import compile_step, make_device_step

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
_STEPS = flags.DEFINE_integer("steps", 3, "Steps in a round.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 60, "Time to spend on rounds; at least two are made.")
_OUTPUT = flags.DEFINE_string("output", "benchmarks/results", "Folder for table and figures.")
flags.mark_flag_as_required("config")

_PRODUCT_SIDE = 2048
# Of the first loss, and of the first update of all parameters: the norm of the difference by the norm.
_LOSS_TOLERANCE, _UPDATE_TOLERANCE = 1e-4, 0.05
_CHECKED_IMAGES = 64
_CHECKED_RATE = 0.01

Run = Callable[[], Any]


def main(argv: list[str]) -> None:
    """Measure, print the table and write it."""
    del argv
    config = _CONFIG.value
    try:
        parts = build_experiment(config)
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
    batches = _endless(parts)
    batch = next(batches)
    runs = {
        name: partial(_round, step, _STEPS.value)
        for name, step in _steps(config, parts, batches, batch).items()
    }
    runs[PRODUCT] = partial(_round, _product(), 1)
    check = _torch_reason(config, parts) or _check_torch(config, parts, batch)
    if not isinstance(check, str):
        step = _torch_step(config, parts, parts.training, batch, compiled=machine.on_gpu())
        runs[TORCH] = partial(_torch_round, step, _STEPS.value)
    for run in runs.values():
        run()  # compiles
    load_before = machine.load()
    times, failed = interleave(runs, _SECONDS.value, 2)
    if failed:
        raise SystemExit(f"error: {failed}")
    file, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    size, rows = _sizes(parts.training)
    encoder = parts.training.model.encoder
    seconds = {
        name: {
            "best": min(taken) / _steps_in(name),
            "median": statistics.median(taken) / _steps_in(name),
        }
        for name, taken in times.items()
    }
    record = {
        "command": _command(sys.argv[1:]),
        "experiment": "_".join(filter(None, [pathlib.Path(file).stem, argument])),
        "model": config.model.name,
        "width": config.model.width,
        "precision": "bfloat16" if encoder.dtype == jnp.bfloat16 else "float32",
        "loss": config.loss.name,
        "images_per_step": size,
        "views_per_step": rows,
        "views": list(parts.policy_names),
        "image": list(parts.facts.image_shape),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "devices": parts.mesh.size,
        "load_before": load_before,
        "load_after": machine.load(),
        "rounds": len(times[WHOLE]),
        "steps_per_round": _STEPS.value,
        "flops": _flops(config, parts),
        "peak": _peak(encoder.dtype, parts.mesh.size, seconds[PRODUCT]["best"]),
        "torch": check if isinstance(check, str) else {**check, "compiled": machine.on_gpu()},
        "seconds_per_step": seconds,
    }
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    what = f"{record['experiment']}_{config.model.name}_width{config.model.width}_batch{size}"
    stem = f"train_step_{what}_{record['precision']}_{machine.device_name()}"
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / f"{stem}.md").write_text(page(record))
    print(page(record))


def _steps(config: ConfigDict, parts: Experiment, batches: Iterator[Batch], batch: Batch) -> dict[str, Run]:
    """Our variants by name: each call dispatches a step, and returns what to wait for."""
    training, mesh = parts.training, parts.mesh
    hyper = replicate(training.hyper, mesh)  # with learning rate 0: all keep the weights that they begin with
    placed = split_batch(batch, mesh)
    plain = _with(config, views=("none",) * training.course.num_views)
    step_of = {
        WHOLE: training.step,
        NO_AUGMENTATION: build_training(plain, parts.facts, mesh).step,
        NO_LOSS: _step_without_loss(config, training, parts),
    }
    state = [training.initial_state()]  # each step takes the last one's memory

    def one(step: Any, real: bool) -> Any:
        state[0], metrics = step(state[0], split_batch(next(batches), mesh) if real else placed, hyper)
        return metrics

    return {
        WHOLE: partial(one, step_of[WHOLE], True),
        PLACED: partial(one, step_of[WHOLE], False),
        NO_AUGMENTATION: partial(one, step_of[NO_AUGMENTATION], False),
        NO_LOSS: partial(one, step_of[NO_LOSS], False),
        FORWARD: _forward(config, parts, placed),
    }


def _step_without_loss(config: ConfigDict, training: Training, parts: Experiment) -> Any:
    """The step with the sum of all outputs, each times a fixed number, in the place of the loss."""

    def weighted_sum(outputs: jax.Array, batch: Batch, hyper: Any) -> jax.Array:
        factors = np.random.default_rng(0).standard_normal(outputs.shape).astype(np.float32)
        return lax.pmean(jnp.sum(outputs * factors), DATA_AXIS)

    device_step = make_device_step(
        training.model,
        _optimizer(config),
        Objective(weighted_sum, lambda outputs, batch, hyper: {}),
        training.views,
        steps_per_epoch=len(training.course.learning_rates) // training.course.epochs,
        sync_batch_norm=config.model.sync_batch_norm,
        micro_batches=training.course.micro_batches,
        ema_decay=config.train.ema_decay,
        skip_not_finite=config.train.not_finite == "skip",
    )
    return compile_step(device_step, parts.mesh)


def _forward(config: ConfigDict, parts: Experiment, placed: Batch) -> Run:
    """Encoder and head in training, on views that lie on the device; one pass begins when the last has ended."""
    training, synchronised = parts.training, config.model.sync_batch_norm
    views = jax.jit(training.views)(jax.random.key(0), placed.images, placed.indices)
    pieces = [split_batch(x, parts.mesh) for x in np.split(views, training.course.micro_batches)]
    variables = training.initial_state().variables

    def on_device(params: Any, batch_stats: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        both = {"params": params, "batch_stats": batch_stats}
        outputs, updated = training.model.apply(both, images, train=True, mutable=["batch_stats"])
        after = updated["batch_stats"]
        return outputs, after if synchronised else lax.pmean(after, DATA_AXIS)

    split = P(DATA_AXIS)
    apply: Any = jax.jit(
        jax.shard_map(on_device, mesh=parts.mesh, in_specs=(P(), P(), split), out_specs=(split, P()))
    )
    batch_stats = [variables["batch_stats"]]

    def run() -> jax.Array:
        for piece in pieces:
            outputs, batch_stats[0] = apply(variables["params"], batch_stats[0], piece)
        return outputs

    return run


def _product() -> Run:
    side = jax.random.normal(jax.random.key(0), (_PRODUCT_SIDE, _PRODUCT_SIDE))
    return partial(jax.jit(lambda x: jnp.matmul(x, x, precision=lax.Precision.HIGHEST)), side)


def _torch_reason(config: ConfigDict, parts: Experiment) -> str | None:
    """Why the step in PyTorch is left out, or None."""
    if reason := machine.missing(("torch",)):
        return reason.replace("torch is", "PyTorch is")
    if jax.default_backend() not in ("cpu", "gpu"):
        return "PyTorch would run on the CPU here, which is not compared with other devices"
    if parts.mesh.size > 1:
        return f"PyTorch's step is for one device, ours ran on {parts.mesh.size}"
    ours_alone = {
        "loss.name": config.loss.name == "cross_entropy",
        "train.optimizer": config.train.optimizer != "sgd",
        "train.decay": config.train.decay != "all",
        "train.ema_decay": config.train.ema_decay > 0,
        "train.micro_batch_size": parts.training.course.micro_batches > 1,
        "model.remat": config.model.remat,
    }
    used = [field for field, is_used in ours_alone.items() if is_used]
    return f"PyTorch's step here does not know this {', '.join(used)}" if used else None


def _check_torch(config: ConfigDict, parts: Experiment, batch: Batch) -> dict[str, float]:
    """How far the first loss and the first update in PyTorch are from ours, in float32.

    Raises:
      SystemExit: too far.
    """
    few = min(_CHECKED_IMAGES, len(batch.labels))
    batch = Batch(*(array[:few] for array in batch))
    views = ("none",) * parts.training.course.num_views
    plain = _with(config, views=views, precision="float32", batch_size=few)
    training = build_training(plain, parts.facts, parts.mesh)
    theirs = _torch_step(config, parts, training, batch, compiled=False)
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
    # Put this way, a figure that is no number does not pass either.
    if not (found["loss_difference"] <= _LOSS_TOLERANCE and found["update_difference"] <= _UPDATE_TOLERANCE):
        raise SystemExit(f"error: the step in PyTorch is not ours, so that they are not compared: {found}")
    return found


def _torch_step(
    config: ConfigDict, parts: Experiment, training: Training, batch: Batch, *, compiled: bool
) -> Any:
    """The step in PyTorch from the initial weights of `training` and in its precision.

    That of the experiment's own training is to be timed, and leaves the weights as they are.
    """
    from benchmarks.torch_network import Setting, Step

    timed = training is parts.training
    encoder = training.model.encoder
    setting = Setting(
        depth=encoder.depth,
        stem=encoder.stem,
        width=encoder.width,
        channels=parts.facts.image_shape[-1],
        projection_dim=config.model.projection_dim,
        mean=parts.facts.mean,
        std=parts.facts.std,
        num_views=training.course.num_views,
        temperature=config.loss.temperature,
        k1=config.loss.k1 if config.loss.name == "tcl" else 0.0,
        k2=config.loss.k2 if config.loss.name == "tcl" else 1.0,
        learning_rate=0.0 if timed else _CHECKED_RATE,
        momentum=config.train.momentum,
        weight_decay=config.train.weight_decay,
    )
    by_image = config.loss.name == "ntxent" or config.loss.labels == "image"
    ids = batch.indices if by_image else batch.labels
    narrow = encoder.dtype == jnp.bfloat16
    tensors = _torch_names(training.initial_state())
    return Step(setting, *tensors, batch.images, ids, narrow=narrow, compiled=compiled)


def _torch_names(state: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Tensors of encoder and head, by torchvision's names."""
    variables = jax.device_get(state.variables)
    encoder = {kind: variables[kind]["encoder"] for kind in ("params", "batch_stats")}
    return encoder_tensors(encoder, num_batches=0), head_tensors(variables["params"]["head"])


def _with(
    config: ConfigDict, *, views: tuple[str, ...], precision: str = "", batch_size: int = 0
) -> ConfigDict:
    """The config with other views, and another precision and batch where they are given."""
    changed = copy.deepcopy(config)
    changed.augment.views = views
    if precision:
        changed.train.precision = precision
    if batch_size:
        changed.train.batch_size = batch_size
    return changed


def _optimizer(config: ConfigDict) -> Any:
    train = config.train
    return make_optimizer(
        train.optimizer, momentum=train.momentum, weight_decay=train.weight_decay, decay=train.decay
    )


def _endless(parts: Experiment) -> Iterator[Batch]:
    """The batches of one epoch after the other, as training reads them."""
    split, training = parts.dataset.train, parts.training
    for epoch in itertools.count():
        size, examples = training.course.batch_size, training.division.train
        yield from train_batches(split, size, seed=0, epoch=epoch, examples=examples)


def _round(step: Run, steps: int) -> None:
    for _ in range(steps):
        result = step()
    jax.block_until_ready(result)


def _torch_round(step: Any, steps: int) -> None:
    for _ in range(steps):
        loss = step.run()
    loss.item()  # waits for all that the GPU was given so far


def _steps_in(name: str) -> int:
    """How often a round does it."""
    return 1 if name == PRODUCT else _STEPS.value


def _sizes(training: Training) -> tuple[int, int]:
    """Images and views of a step."""
    return training.course.batch_size, training.course.batch_size * training.course.num_views


def _flops(config: ConfigDict, parts: Experiment) -> dict[str, int]:
    """Of the products that a step cannot do without, by the formula of --mode=plan: network and loss."""
    training, (_, rows) = parts.training, _sizes(parts.training)
    state = jax.eval_shape(training.initial_state)
    image = jax.ShapeDtypeStruct((1, *parts.facts.image_shape), np.float32)
    forward = product_flops(
        lambda variables, image: training.model.apply(variables, image, train=False), state.variables, image
    )
    contrastive = config.loss.name != "cross_entropy"
    loss = 6 * rows**2 * config.model.projection_dim if contrastive else 0
    return {"forward": rows * forward, "network": 3 * rows * forward, "loss": loss}


def _peak(dtype: Any, devices: int, product_seconds: float) -> dict[str, Any]:
    """FLOP/s that all devices can do at most, and where that is from."""
    measured = 2 * _PRODUCT_SIDE**3 / product_seconds
    accelerator = find_accelerator(jax.devices()[0].device_kind)
    if accelerator is None:
        # Simulated devices share the processor on which the product ran.
        of_all = measured * (1 if jax.default_backend() == "cpu" else devices)
        side = f"{_PRODUCT_SIDE} x {_PRODUCT_SIDE}"
        return {
            "network": of_all,
            "loss": of_all,
            "product": measured,
            "from": f"a float32 product of {side} matrices in the same run",
        }
    network = accelerator.bfloat16 if dtype == jnp.bfloat16 else accelerator.float32
    return {
        "network": network * devices,
        "loss": accelerator.float32 * devices,
        "product": measured,
        "from": "the data sheet",
    }


def _command(arguments: list[str]) -> str:
    """What to type for the same run, without folders of this machine."""
    kept = [a for a in arguments if not a.startswith(("--config.data.data_dir", "--output"))]
    return " ".join(["python -m benchmarks.train_step", *map(shlex.quote, kept)])


if __name__ == "__main__":
    app.run(main)
