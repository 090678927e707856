"""How fast a training step is, where its time goes, and how fast the same step is in PyTorch.

    python -m benchmarks.train_step --config=configs/cifar10_tcl.py --config.data.data_dir=/data/tfds
    python -m benchmarks.train_step --config=configs/digits_tcl.py --steps=5

Takes turns between the whole step on real batches, the same on one batch that lies on the device, that without
augmentation or without the loss, the network's forward pass alone, and a step in PyTorch. The best of the rounds
counts. PyTorch, where it is installed, trains the same network with the same loss and optimizer in the same precision,
without augmentation; before it is timed, its loss and its update are compared with ours.
"""

import json
import pathlib
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from benchmarks import machine
from benchmarks.timing import interleave
from benchmarks.train_step_page import PRODUCT, TORCH, WHOLE, page
from benchmarks.train_step_torch import check, make_step, reason_against
from benchmarks.train_step_variants import PRODUCT_SIDE, endless_batches, matrix_product, our_steps
from tcl_jax.errors import UserError
from tcl_jax.experiment.build import Experiment, Training, build_experiment
from tcl_jax.plan.accelerators import find_accelerator
from tcl_jax.plan.costs import product_flops

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
_STEPS = flags.DEFINE_integer("steps", 3, "Steps in a round.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 60, "Time to spend on rounds; at least two are made.")
_OUTPUT = flags.DEFINE_string("output", "benchmarks/results", "Folder for table and figures.")
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    """Measure, print the table and write it."""
    del argv
    config = _CONFIG.value
    try:
        parts = build_experiment(config)
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
    batches = endless_batches(parts)
    batch = next(batches)
    runs = {
        name: partial(_round, step, _STEPS.value)
        for name, step in our_steps(config, parts, batches, batch).items()
    }
    runs[PRODUCT] = partial(_round, matrix_product(), 1)
    checked = reason_against(config, parts) or check(config, parts, batch)
    if not isinstance(checked, str):
        step = make_step(config, parts, parts.training, batch, compiled=machine.on_gpu())
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
        "torch": checked if isinstance(checked, str) else {**checked, "compiled": machine.on_gpu()},
        "seconds_per_step": seconds,
    }
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    what = f"{record['experiment']}_{config.model.name}_width{config.model.width}_batch{size}"
    stem = f"train_step_{what}_{record['precision']}_{machine.device_name()}"
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / f"{stem}.md").write_text(page(record))
    print(page(record))


def _round(step: Callable[[], Any], steps: int) -> None:
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
    measured = 2 * PRODUCT_SIDE**3 / product_seconds
    accelerator = find_accelerator(jax.devices()[0].device_kind)
    if accelerator is None:
        # Simulated devices share the processor on which the product ran.
        of_all = measured * (1 if jax.default_backend() == "cpu" else devices)
        side = f"{PRODUCT_SIDE} x {PRODUCT_SIDE}"
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
