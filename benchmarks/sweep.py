"""What a sweep saves: its members in one program, against single runs of them.

    python -m benchmarks.sweep --config=configs/digits_tcl.py
    python -m benchmarks.sweep --config=configs/digits_tcl.py --whole

Times the step of a single run and both ways in which members can share the devices, in turns; the best of the rounds
counts. With --whole it also times the commands themselves, from start to end: one run of main.py for each member, one
after the other, and one sweep of all. All find compiled programs in the same folder, which is empty before the first.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from benchmarks import machine
from benchmarks.timing import interleave
from tcl_jax.data import train_batches
from tcl_jax.experiment.build import build_experiment
from tcl_jax.parallel import split_batch
from tcl_jax.report.comparison import brief
from tcl_jax.train.sweep_step import AtOnce, OneByOne

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
_MEMBERS = flags.DEFINE_integer("members", 12, "Members of the sweep, which differ in k1.", lower_bound=2)
_STEPS = flags.DEFINE_integer("steps", 5, "Steps in a round.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 60, "Time to spend on rounds; at least two are made.")
_WHOLE = flags.DEFINE_bool("whole", False, "Time whole commands as well.")
_OUTPUT = flags.DEFINE_string("output", "benchmarks/results", "Folder for table and figures.")
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    """Measure, print the table and write it."""
    del argv
    config, members = _CONFIG.value, _MEMBERS.value
    k1s = [float(10 * 2**number) for number in range(members)]
    load_before = machine.load()
    # Before this process has programs of its own, which would take memory and cores.
    whole = _whole_commands(k1s) if _WHOLE.value else None
    times = _steps(config, k1s)
    file, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = "_".join(filter(None, [pathlib.Path(file).stem, argument]))
    record = {
        "command": _command(sys.argv[1:]),
        "experiment": name,
        "network": f"{config.model.name}, width {config.model.width}",
        "images_per_step": config.train.batch_size,
        "members": members,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "load_before": load_before,
        "load_after": machine.load(),
        "seconds_per_step": {way: min(seconds) / _STEPS.value for way, seconds in times.items()},
        "seconds_of_commands": whole,
    }
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sweep_{name}_{machine.device_name()}"
    table = _table(record)
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / f"{stem}.md").write_text(table)
    print(table)


def _steps(config, k1s: list[float]) -> dict[str, list[float]]:
    parts = build_experiment(config)
    training = parts.training
    hyper = training.hyper._replace(learning_rate=np.float32(0.01), diagnose=np.bool_(False))
    hypers = [hyper._replace(k1=np.float32(k1)) for k1 in k1s]
    examples = training.division.train
    batch = split_batch(
        next(
            train_batches(parts.dataset.train, training.course.batch_size, seed=0, epoch=0, examples=examples)
        ),
        parts.mesh,
    )

    def take(step, members):
        current = [step.start([training.initial_state()] * members)]  # each step takes the last one's memory

        def run():
            for _ in range(_STEPS.value):
                current[0], metrics = step(current[0], [batch] * members, hypers[:members])
            jax.block_until_ready(metrics)

        run()  # compiles
        return run

    one_by_one = OneByOne(training.step)
    runs = {
        "a single run": take(one_by_one, 1),
        "all members, one by one": take(one_by_one, len(k1s)),
        "all members at once": take(AtOnce(training.device_step, parts.mesh), len(k1s)),
    }
    times, failed = interleave(runs, _SECONDS.value, 2)
    if failed:
        raise SystemExit(f"error: {failed}")
    return times


def _whole_commands(k1s: list[float]) -> dict[str, list[float]]:
    """Seconds of each single run and of the sweep; with the flags for the config that were given here."""
    flags_given = [a for a in sys.argv[1:] if a.startswith("--config")]
    with tempfile.TemporaryDirectory() as folder:

        def run(*arguments: str) -> float:
            began = time.monotonic()
            ended = subprocess.run(
                [sys.executable, "main.py", *flags_given, *arguments],
                env=os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"},
                capture_output=True,
                text=True,
                check=False,
            )
            if ended.returncode:
                raise SystemExit(ended.stderr)
            return time.monotonic() - began

        run("--workdir", f"{folder}/first")  # fills the cache
        single = [run("--workdir", f"{folder}/single_{k1}", f"--config.loss.k1={k1}") for k1 in k1s]
        axis = f"--sweep=loss.k1={','.join(map(brief, k1s))}"
        sweep = run("--workdir", f"{folder}/sweep", "--mode=sweep", axis)
        same = [_sha256(f"{folder}/single_{k1}") == _sha256(f"{folder}/sweep/k1={brief(k1)}") for k1 in k1s]
    return {"single": single, "sweep": [sweep], "members_with_the_same_parameters": [sum(same)]}


def _sha256(folder: str) -> str:
    return json.loads((pathlib.Path(folder) / "results.json").read_text())["params_sha256"]


def _command(arguments: list[str]) -> str:
    """What to type for the same run, without folders of this machine."""
    kept = [a for a in arguments if not a.startswith(("--config.data.data_dir", "--output"))]
    return " ".join(["python -m benchmarks.sweep", *map(shlex.quote, kept)])


def _table(record: dict) -> str:
    computer, members = record["machine"], record["members"]
    single = record["seconds_per_step"]["a single run"]
    lines = [
        f"# A sweep of {members} members",
        "",
        f"    {record['command']}",
        "",
        f"{record['date']}; {computer['device']} ({computer['processor']}), {computer['cores']} cores, jax "
        f"{computer['versions']['jax']}; load {record['load_before']} before and {record['load_after']} after.",
        "",
        f"{record['experiment']}: {record['network']}, {record['images_per_step']} images per step; "
        "members differ in k1.",
        "",
        f"| | time per step | in steps of {members} single runs |",
        "| --- | ---: | ---: |",
    ]
    for way, seconds in record["seconds_per_step"].items():
        share = "" if way == "a single run" else f"{seconds / (members * single):.2f}"
        lines.append(f"| {way} | {1000 * seconds:.1f} ms | {share} |")
    if record["seconds_of_commands"] is not None:
        whole = record["seconds_of_commands"]
        alone, sweep = sum(whole["single"]), whole["sweep"][0]
        lines += [
            "",
            "| whole commands, compiled programs found | time | share |",
            "| --- | ---: | ---: |",
            f"| {members} runs of main.py, one after the other | {alone:.0f} s | 1 |",
            f"| one sweep | {sweep:.0f} s | {sweep / alone:.2f} |",
            "",
            f"{whole['members_with_the_same_parameters'][0]} of {members} members have the parameters of their single "
            "run to the last bit. A single run also makes its page; a sweep makes one for all.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app.run(main)
