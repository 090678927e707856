"""Kills a run with SIGKILL at random moments and continues it, again and again, until it is complete.

    python -m tests.modes.kill_often --kills=20
    python -m tests.modes.kill_often --kills=20 --devices=1,2,4,8     # another number of devices at each start, 64-bit

Compares with a run that nobody disturbed, prints what it saw, and fails where the two do not end alike. Where a run is
complete before it was killed often enough, another one begins.
"""

import argparse
import dataclasses
import itertools
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.stored import last_whole_step

ROOT = pathlib.Path(__file__).parents[2]
STEPS_PER_EPOCH, EPOCHS, SAVE_EPOCHS = 5, 30, 2
SAVE_INTERVAL = STEPS_PER_EPOCH * SAVE_EPOCHS
FIELDS = {
    "data.train_split": "train[:200]",
    "model.width": 2,
    "train.batch_size": 32,
    "train.epochs": EPOCHS,
    "validation.images": 40,
    "probe.epochs": 1,
    "probe.batch_size": 32,
    "checkpoint.every_epochs": SAVE_EPOCHS,
    "log.every_steps": 1,
}


@dataclasses.dataclass
class Start:
    """One start of a run: how long it lived, the step it continued from, the last one on record when it ended."""

    seconds: float
    first: int
    last: int
    killed: bool


@dataclasses.dataclass
class Killer:
    """Runs in a folder of their own each.

    Args:
      folder: for all workdirs.
      devices: of the successive starts, in turn.
      wide: 64-bit.
    """

    folder: pathlib.Path
    devices: tuple[int, ...] = (1,)
    wide: bool = False

    def start(self, workdir: pathlib.Path, number: int) -> subprocess.Popen:
        options = [f"--config.{name}={value}" for name, value in FIELDS.items()]
        program = ["-m", "tests.modes.main64"] if self.wide else ["main.py"]
        flags = [
            f"--xla_force_host_platform_device_count={self.devices[number % len(self.devices)]}",
            "--xla_backend_optimization_level=0",
        ]
        with (self.folder / f"{workdir.name}_{number}.txt").open("w") as output:
            return subprocess.Popen(
                [
                    sys.executable,
                    *program,
                    "--config=configs/digits_tcl.py",
                    f"--workdir={workdir}",
                    f"--config.data.data_dir={self.folder / 'data'}",
                    *options,
                ],
                cwd=ROOT,
                env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join(flags)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self, workdir: pathlib.Path, number: int) -> str:
        return (self.folder / f"{workdir.name}_{number}.txt").read_text()

    def run(self, workdir: pathlib.Path, number: int, kill_after: float | None = None) -> Start:
        """Start number `number` of the run in `workdir`, killed after so many seconds unless it ends before."""
        whole = last_whole_step(epath.Path(workdir / "checkpoints"))
        process, began = self.start(workdir, number), time.monotonic()
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        said, killed = self.said(workdir, number), process.returncode < 0
        if not killed:
            assert process.returncode == 0, said
        assert "Traceback" not in said, said
        found = re.search(r"Continuing after step (\d+)", said)
        if found:
            assert int(found[1]) == whole  # the last one that came to its end, and no other
        records = read_metrics(epath.Path(workdir / "metrics.jsonl"))
        return Start(
            seconds=time.monotonic() - began,
            first=int(found[1]) if found else whole or 0,
            last=max((record["step"] for record in records), default=0),
            killed=killed,
        )


def kill_often(
    killer: Killer, kills: int, *, startup: float, training: float, seed: int
) -> tuple[list[Start], list]:
    """All starts of as many runs as so many kills take; and the workdirs of the runs, all of them complete."""
    rng, starts, workdirs, killed = random.Random(seed), [], [], 0
    while killed < kills:
        workdir = killer.folder / f"disturbed_{len(workdirs)}"
        workdirs.append(workdir)
        for number in range(10 * kills):
            # From the middle of the start-up on; a run lasts for about five kills.
            moment = rng.uniform(startup / 2, startup + training / 5)
            starts.append(killer.run(workdir, number, moment if killed < kills else None))
            killed += starts[-1].killed
            if not starts[-1].killed:
                break
    return starts, workdirs


def lost_steps(starts: list[Start]) -> list[int]:
    """Steps on record at each kill that the next start did again."""
    return [max(a.last - b.first, 0) for a, b in itertools.pairwise(starts) if a.killed]


def final_arrays(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """Parameters and running statistics of the last checkpoint."""
    path = epath.Path(workdir / "checkpoints" / str(STEPS_PER_EPOCH * EPOCHS) / "model")
    reader = ocp.PyTreeCheckpointer()
    tree = reader.metadata(path).item_metadata.tree
    # As NumPy arrays: the devices that wrote them need not be here, and 64 bits stay.
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    state = reader.restore(path, restore_args=as_numpy)
    arrays: dict[str, np.ndarray] = {}

    def collect(name: str, tree) -> None:
        if isinstance(tree, dict):
            for key, child in tree.items():
                collect(f"{name}/{key}", child)
        else:
            arrays[name] = np.asarray(tree)

    for part in ("params", "batch_stats"):
        collect(part, state[part])
    return arrays


def difference(ours: pathlib.Path, theirs: pathlib.Path) -> tuple[float, float]:
    """Of two complete runs: the largest difference of a parameter, and of a step's loss relative to the loss."""
    a, b = final_arrays(ours), final_arrays(theirs)
    assert a.keys() == b.keys()
    losses = [
        np.array([r["loss"] for r in read_metrics(epath.Path(w / "metrics.jsonl")) if "loss" in r])
        for w in (ours, theirs)
    ]
    return (
        max(float(np.max(np.abs(a[name] - b[name]))) for name in a),
        float(np.max(np.abs(losses[0] / losses[1] - 1))),
    )


def check(folder: pathlib.Path, kills: int, devices: tuple[int, ...], *, wide: bool, seed: int) -> str:
    """Everything that must hold; what was seen, in words."""
    alone = Killer(folder, (1,), wide)
    undisturbed = folder / "undisturbed"
    whole = alone.run(undisturbed, 0)
    startup_line = re.search(r"first step was done ([\d.]+) s after the start", alone.said(undisturbed, 0))
    assert startup_line, alone.said(undisturbed, 0)
    startup = float(startup_line[1])
    starts, workdirs = kill_often(
        Killer(folder, devices, wide), kills, startup=startup, training=whole.seconds - startup, seed=seed
    )
    lost = lost_steps(starts)
    seen = [
        f"{sum(s.killed for s in starts)} kills in {len(workdirs)} runs of {STEPS_PER_EPOCH * EPOCHS} steps",
        f"killed after {', '.join(f'{s.seconds:.1f}' for s in starts if s.killed)} s",
        f"continued after step {', '.join(str(s.first) for s in starts)}",
        f"steps done again {', '.join(map(str, lost))} with a checkpoint every {SAVE_INTERVAL}",
    ]
    # A checkpoint is written while training goes on; until it is whole, the one before is the last.
    assert max(lost) <= 2 * SAVE_INTERVAL, seen
    for workdir in workdirs:
        parameters, losses = difference(workdir, undisturbed)
        seen.append(f"difference of parameters {parameters:.1e}, of losses {losses:.1e}")
        if devices == (1,):
            results = [json.loads((w / "results.json").read_text()) for w in (workdir, undisturbed)]
            assert results[0]["params_sha256"] == results[1]["params_sha256"], seen
            assert results[0]["final_train_loss"] == results[1]["final_train_loss"], seen
            assert (parameters, losses) == (0, 0), seen
        elif wide:
            assert max(parameters, losses) < 1e-6, seen
    return "; ".join(seen) + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--devices", default="1", help="of the successive starts, as in 1,2,4,8")
    parser.add_argument(
        "--float32", action="store_true", help="do not compute in 64-bit with --devices; judges nothing"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    devices = tuple(int(number) for number in options.devices.split(","))
    wide = devices != (1,) and not options.float32
    with tempfile.TemporaryDirectory() as folder:
        print(check(pathlib.Path(folder), options.kills, devices, wide=wide, seed=options.seed))


if __name__ == "__main__":
    main()
