"""How fast a training step is, where its time goes, and how fast the same step is in PyTorch.

    python -m benchmarks.train_step --config=configs/cifar10_tcl.py --config.data.data_dir=/data/tfds
    python -m benchmarks.train_step --config=configs/digits_tcl.py --steps=5

Takes turns between the whole step on real batches, the same on one batch that lies on the device, that without
augmentation or without the loss, the network's forward pass alone, and a step in PyTorch. The best of the rounds
counts. PyTorch, where it is installed, trains the same network with the same loss and optimizer in the same precision,
without augmentation; before it is timed, its loss and its update are compared with ours.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import experiment, machine, results, steps
from benchmarks.train_step_page import PRODUCT, TORCH, WHOLE, page
from benchmarks.train_step_torch import check, make_step, reason_against
from benchmarks.train_step_variants import PRODUCT_SIDE, matrix_product, our_steps
from tcl_jax.command_line.start import keep_freed_memory
from tcl_jax.experiment.build import Experiment
from tcl_jax.plan.costs import product_flops
from tcl_jax.plan.devices import find_accelerator


def main(argv: list[str]) -> None:
    """Measure, write the record and its page, and print the page."""
    del argv
    keep_freed_memory()  # as each command does
    record = results.start(results.OUTPUT.value)
    built = steps.build()
    config, program, schedule = built.config, built.program, built.program.schedule
    batches, count = steps.batches(built), steps.STEPS.value
    batch = next(batches)
    runs = {name: partial(_round, step, count) for name, step in our_steps(built, batches, batch).items()}
    runs[PRODUCT] = partial(_round, matrix_product(), 1)
    checked = reason_against(built) or check(built, batch)
    if not isinstance(checked, str):
        checked["compiled"] = machine.on_gpu()
        step = make_step(built, program, batch, learning_rate=0.0, compiled=machine.on_gpu())
        runs[TORCH] = partial(_torch_round, step, count)
    times = steps.time_rounds(runs)
    steps_in = {name: 1 if name == PRODUCT else count for name in times}
    best = {name: min(taken) / steps_in[name] for name, taken in times.items()}
    median = {name: statistics.median(taken) / steps_in[name] for name, taken in times.items()}
    dtype = getattr(program.model.encoder, "dtype", None)  # an encoder of the user's own may name none
    record |= {
        "experiment": experiment.name(),
        "model": config.model.name,
        "width": config.model.width,
        "precision": "bfloat16" if dtype == jnp.bfloat16 else "float32",
        "loss": config.loss.name,
        "images_per_step": schedule.batch_size,
        "views_per_step": schedule.views_per_step,
        "views": list(config.augment.views),
        "image": list(built.facts.image_shape),
        "devices": built.mesh.size,
        "rounds": len(times[WHOLE]),
        "steps_per_round": count,
        "flops": _flops(built),
        "peak": _peak(dtype, built.mesh.size, best[PRODUCT]),
        "torch": checked,
        "seconds_per_step": {name: {"best": best[name], "median": median[name]} for name in times},
    }
    what = f"{record['experiment']}_{config.model.name}_width{config.model.width}_batch{schedule.batch_size}"
    name = f"train_step_{what}_{record['precision']}_{machine.device_name()}"
    print(results.write(record, page, results.OUTPUT.value, name))


def _round(step: Callable[[], Any], count: int) -> None:
    for _ in range(count):
        result = step()
    jax.block_until_ready(result)


def _torch_round(step: Any, count: int) -> None:
    for _ in range(count):
        loss = step.run()
    loss.item()  # waits for all that the GPU was given so far


def _flops(experiment: Experiment) -> dict[str, int]:
    """Of the products that a step cannot do without, by the formula of --mode=plan: network and loss."""
    program, rows = experiment.program, experiment.program.schedule.views_per_step
    image = jax.ShapeDtypeStruct((1, *program.image_shape), np.float32)
    forward = product_flops(
        lambda variables, image: program.model.apply(variables, image, train=False),
        program.state_shapes().variables,
        image,
    )
    pairs = rows**2 if program.parts.objective.head == "projection" else 0
    loss = 6 * pairs * experiment.config.model.projection_dim
    return {"forward": rows * forward, "network": 3 * rows * forward, "loss": loss}


def _peak(dtype: Any, devices: int, product_seconds: float) -> dict[str, Any]:
    """FLOP/s that all devices can do at most, and where that is from."""
    measured = 2 * PRODUCT_SIDE**3 / product_seconds
    accelerator = find_accelerator(jax.devices()[0].device_kind)
    if accelerator:
        of_each = accelerator.bfloat16 if dtype == jnp.bfloat16 else accelerator.float32
        network, loss, source = of_each * devices, accelerator.float32 * devices, "the data sheet"
    else:
        # Simulated devices share the processor on which the product ran.
        network = loss = measured * (1 if jax.default_backend() == "cpu" else devices)
        source = f"a float32 product of {PRODUCT_SIDE} x {PRODUCT_SIDE} matrices in the same run"
    return {"network": network, "loss": loss, "product": measured, "from": source}


if __name__ == "__main__":
    for module in (experiment, steps, results):
        flags.adopt_module_key_flags(module)  # for --help
    app.run(main)
