"""How much of a training step goes to data and augmentation, for a real experiment.

    python -m benchmarks.input --config=configs/smoke.py:fashion_mnist_tcl --config.data.data_dir=/data/tfds
    python -m benchmarks.input --config=configs/cifar10_tcl.py --config.data.data_dir=/data/tfds --steps=5

Takes turns between three things: whole steps on real batches, the step's augmentation alone (compiled by itself, on the
same batch), and getting a batch (gathering it and handing it to the devices) with nothing beside it. The best of the
rounds counts. The share of data is what a step would wait if nothing were done ahead: in training the device works on
earlier steps meanwhile.
"""

import json
import pathlib
import shlex
import sys
import time

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from benchmarks import machine
from benchmarks.timing import interleave
from tcl_jax.data import train_batches
from tcl_jax.experiment.build import build_experiment
from tcl_jax.parallel import replicate, split_batch

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
_STEPS = flags.DEFINE_integer("steps", 3, "Steps in a round.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 60, "Time to spend on rounds; at least two are made.")
_OUTPUT = flags.DEFINE_string("output", "benchmarks/results", "Folder for the table and its numbers.")
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    """Measure, print the table and write it."""
    del argv
    config = _CONFIG.value
    parts = build_experiment(config)
    hyper = replicate(parts.training.hyper._replace(learning_rate=np.float32(0.01)), parts.mesh)
    views = jax.jit(parts.training.views)
    state = [parts.training.initial_state()]  # each step takes the last one's memory

    def batches():
        split, size = parts.dataset.train, parts.training.course.batch_size
        return train_batches(split, size, seed=0, epoch=0, examples=parts.training.division.train)

    placed = split_batch(next(batches()), parts.mesh)
    key = jax.random.key(0)

    def data():
        some = batches()
        for _ in range(_STEPS.value):
            jax.block_until_ready(split_batch(next(some), parts.mesh))

    def augmentation():
        for _ in range(_STEPS.value):
            jax.block_until_ready(views(key, placed.images, placed.indices))

    def steps():
        some = batches()
        for _ in range(_STEPS.value):
            state[0], metrics = parts.training.step(state[0], split_batch(next(some), parts.mesh), hyper)
        jax.block_until_ready(metrics)

    runs = {"step": steps, "augmentation": augmentation, "data": data}
    for run in runs.values():
        run()  # compiles
    load_before = machine.load()
    times, failed = interleave(runs, _SECONDS.value, 2)
    if failed:
        raise SystemExit(f"error: {failed}")
    best = {name: min(seconds) / _STEPS.value for name, seconds in times.items()}
    file, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = "_".join(filter(None, [pathlib.Path(file).stem, argument]))
    record = {
        "command": _command(sys.argv[1:]),
        "experiment": name,
        "network": f"{config.model.name}, width {config.model.width}",
        "images_per_step": parts.training.course.batch_size,
        "views": list(parts.policy_names),
        "image": list(parts.dataset.train.images.shape[1:]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "load_before": load_before,
        "load_after": machine.load(),
        "rounds": len(times["step"]),
        "seconds_per_step": best,
    }
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"input_{name}_{machine.device_name()}"
    table = _table(record)
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / f"{stem}.md").write_text(table)
    print(table)


def _command(arguments: list[str]) -> str:
    """What to type for the same run, without folders of this machine."""
    kept = [a for a in arguments if not a.startswith(("--config.data.data_dir", "--output"))]
    return " ".join(["python -m benchmarks.input", *map(shlex.quote, kept)])


def _table(record: dict) -> str:
    seconds, computer = record["seconds_per_step"], record["machine"]
    lines = [
        "# Data and augmentation in a training step",
        "",
        f"    {record['command']}",
        "",
        f"{record['date']}; {computer['device']} ({computer['processor']}), {computer['cores']} cores, jax "
        f"{computer['versions']['jax']}; load {record['load_before']} before and {record['load_after']} after.",
        "",
        f"{record['experiment']}: {record['network']}, {record['images_per_step']} images of "
        f"{'x'.join(map(str, record['image']))} per step, views {', '.join(record['views'])}. Best of "
        f"{record['rounds']} rounds in which the three take turns.",
        "",
        "| | time per step | share of a step |",
        "| --- | ---: | ---: |",
    ]
    for name, value in seconds.items():
        lines.append(f"| {name} | {1000 * value:.2f} ms | {100 * value / seconds['step']:.2f} % |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app.run(main)
