"""How much of a training step goes to data and augmentation, for a real experiment.

    python -m benchmarks.input --config=configs/smoke.py:fashion_mnist_tcl --config.data.data_dir=/data/tfds
    python -m benchmarks.input --config=configs/cifar10_tcl.py --config.data.data_dir=/data/tfds --steps=5

Takes turns between three things: whole steps on real batches, the step's augmentation alone (compiled by itself, on the
same batch), and getting a batch (gathering it and handing it to the devices) with nothing beside it. The best of the
rounds counts. The share of data is what a step would wait if nothing were done ahead: in training the device works on
earlier steps meanwhile.
"""

from itertools import islice

import jax
import numpy as np
from absl import app, flags

from benchmarks import experiment, machine, results, steps
from tcl_jax.parallel import replicate, split_batch


def main(argv: list[str]) -> None:
    """Measure, write the record and its page, and print the page."""
    del argv
    record = results.start(results.OUTPUT.value)
    built = steps.build()
    config, program, mesh = built.config, built.program, built.mesh
    hyper = replicate(built.settings.hyper._replace(learning_rate=np.float32(0.01)), mesh)
    state = [program.initial_state(built.settings.seed)]  # each step takes the last one's memory
    views, key = jax.jit(program.views), jax.random.key(0)
    placed = split_batch(next(steps.batches(built)), mesh)

    def data():
        for batch in islice(steps.batches(built), steps.STEPS.value):
            jax.block_until_ready(split_batch(batch, mesh))

    def augmentation():
        for _ in range(steps.STEPS.value):
            jax.block_until_ready(views(key, placed.images, placed.indices))

    def step():
        for batch in islice(steps.batches(built), steps.STEPS.value):
            state[0], metrics = program.step(state[0], split_batch(batch, mesh), hyper)
        jax.block_until_ready(metrics)

    times = steps.time_rounds({"step": step, "augmentation": augmentation, "data": data})
    record |= {
        "experiment": experiment.name(),
        "network": f"{config.model.name}, width {config.model.width}",
        "images_per_step": program.schedule.batch_size,
        "views": list(config.augment.views),
        "image": list(program.image_shape),
        "rounds": len(times["step"]),
        "seconds_per_step": {name: min(seconds) / steps.STEPS.value for name, seconds in times.items()},
    }
    name = f"input_{record['experiment']}_{machine.device_name()}"
    print(results.write(record, page, results.OUTPUT.value, name))


def page(record: results.Record) -> str:
    """Markdown: the time of a step, and the shares of augmentation and data."""
    seconds = record["seconds_per_step"]
    return results.page(
        "Data and augmentation in a training step",
        record,
        f"{record['experiment']}: {record['network']}, {record['images_per_step']} images of "
        f"{'x'.join(map(str, record['image']))} per step, views {', '.join(record['views'])}. Best of "
        f"{record['rounds']} rounds in which the three take turns.",
        results.table(
            ["", "time per step", "share of a step"],
            [
                [name, f"{1000 * taken:.2f} ms", f"{100 * taken / seconds['step']:.2f} %"]
                for name, taken in seconds.items()
            ],
        ),
    )


if __name__ == "__main__":
    for module in (experiment, steps, results):
        flags.adopt_module_key_flags(module)  # for --help
    app.run(main)
