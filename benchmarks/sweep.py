"""What a sweep saves: its members in one program, against single runs of them.

    python -m benchmarks.sweep --config=configs/digits_tcl.py
    python -m benchmarks.sweep --config=configs/digits_tcl.py --whole

Times the step of a single run and both ways in which members can share the devices, in turns; the best of the rounds
counts. With --whole it also times the commands themselves, from start to end: one run of main.py for each member, one
after the other, and one sweep of all. All find compiled programs in the same folder, which is empty before the first.
"""

import json
import pathlib
import tempfile
from collections.abc import Callable

import jax
import numpy as np
from absl import app, flags

from benchmarks import experiment, machine, results, steps
from benchmarks.timing import time_main
from tcl_jax.command_line.start import keep_freed_memory
from tcl_jax.fields import brief
from tcl_jax.parallel import split_batch
from tcl_jax.train.sweep_step import AtOnce, OneByOne, SweepStep

_MEMBERS = flags.DEFINE_integer("members", 12, "Members of the sweep, which differ in k1.", lower_bound=2)
_WHOLE = flags.DEFINE_bool("whole", False, "Time whole commands as well.")
_SINGLE = "a single run"


def main(argv: list[str]) -> None:
    """Measure, write the record and its page, and print the page."""
    del argv
    keep_freed_memory()  # as each command does
    config = experiment.CONFIG.value
    k1s = [float(10 * 2**number) for number in range(_MEMBERS.value)]
    record = results.start(results.OUTPUT.value) | {
        "experiment": experiment.name(),
        "network": f"{config.model.name}, width {config.model.width}",
        "images_per_step": config.train.batch_size,
        "members": _MEMBERS.value,
        # First, before this process has programs of its own, which would take memory and cores.
        "seconds_of_commands": _whole_commands(k1s) if _WHOLE.value else None,
        "seconds_per_step": {way: min(seconds) / steps.STEPS.value for way, seconds in _steps(k1s).items()},
    }
    name = f"sweep_{record['experiment']}_{machine.device_name()}"
    print(results.write(record, page, results.OUTPUT.value, name))


def _steps(k1s: list[float]) -> dict[str, list[float]]:
    """Seconds of each round, by the way in which members share the devices."""
    built = steps.build()
    program, batch = built.program, split_batch(next(steps.batches(built)), built.mesh)
    hypers = [built.settings.hyper._replace(k1=np.float32(k1)) for k1 in k1s]

    def take(step: SweepStep, members: int) -> Callable[[], None]:
        states = [program.initial_state(built.settings.seed) for _ in range(members)]
        current = [step.start(states)]  # each step takes the last one's memory

        def run() -> None:
            for _ in range(steps.STEPS.value):
                current[0], metrics = step(current[0], [batch] * members, hypers[:members])
            jax.block_until_ready(metrics)

        return run

    one_by_one, at_once = OneByOne(program.step), AtOnce(program.device_step, built.mesh)
    return steps.time_rounds(
        {
            _SINGLE: take(one_by_one, 1),
            "all members, one by one": take(one_by_one, len(k1s)),
            "all members at once": take(at_once, len(k1s)),
        }
    )


def _whole_commands(k1s: list[float]) -> dict[str, list[float]]:
    """Seconds of each single run and of the sweep, and how many members have the parameters of their single run."""
    with tempfile.TemporaryDirectory() as folder:

        def run(name: str, *arguments: str) -> float:
            words = [*experiment.arguments(), f"--workdir={folder}/{name}", *arguments]
            return time_main(words, f"{folder}/cache")[0]

        def sha256(name: str) -> str:
            return json.loads((pathlib.Path(folder) / name / "results.json").read_text())["params_sha256"]

        run("first")  # fills the cache
        single = [run(f"single_{k1}", f"--config.loss.k1={k1}") for k1 in k1s]
        sweep = run("sweep", "--mode=sweep", f"--sweep=loss.k1={','.join(map(brief, k1s))}")
        same = [sha256(f"single_{k1}") == sha256(f"sweep/k1={brief(k1)}") for k1 in k1s]
    return {"single": single, "sweep": [sweep], "members_with_the_same_parameters": [sum(same)]}


def page(record: results.Record) -> str:
    """Markdown: times of a step, and of whole commands where they were taken."""
    members, seconds = record["members"], record["seconds_per_step"]
    steps = [
        [
            way,
            f"{1000 * taken:.1f} ms",
            "" if way == _SINGLE else f"{taken / (members * seconds[_SINGLE]):.2f}",
        ]
        for way, taken in seconds.items()
    ]
    return results.page(
        f"A sweep of {members} members",
        record,
        f"{record['experiment']}: {record['network']}, {record['images_per_step']} images per step; "
        "members differ in k1.",
        results.table(["", "time per step", f"in steps of {members} single runs"], steps),
        *(_about_commands(record["seconds_of_commands"], members) if record["seconds_of_commands"] else ()),
    )


def _about_commands(seconds: dict[str, list[float]], members: int) -> tuple[str, str]:
    alone, sweep = sum(seconds["single"]), seconds["sweep"][0]
    rows = [
        [f"{members} runs of main.py, one after the other", f"{alone:.0f} s", "1"],
        ["one sweep", f"{sweep:.0f} s", f"{sweep / alone:.2f}"],
    ]
    return (
        results.table(["whole commands, compiled programs found", "time", "share"], rows),
        f"{seconds['members_with_the_same_parameters'][0]} of {members} members have the parameters of their single "
        "run to the last bit. A single run also makes its page; a sweep makes one for all.",
    )


if __name__ == "__main__":
    for module in (experiment, steps, results):
        flags.adopt_module_key_flags(module)  # for --help
    app.run(main)
