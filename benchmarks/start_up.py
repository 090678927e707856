"""What kept programs save of a start: the same run of main.py with an empty folder of compiled programs, and again.

    python -m benchmarks.start_up --config=configs/digits_tcl.py --config.train.epochs=6

Each round has a folder of its own, which its first run fills and its second finds full.
"""

import json
import pathlib
import re
import statistics
import tempfile

from absl import app, flags

from benchmarks import experiment, machine, results
from benchmarks.timing import time_main

_ROUNDS = flags.DEFINE_integer("rounds", 3, "Of a first and a second run each.", lower_bound=1)

_FIRST_STEP = re.compile(r"([\d.]+) s of them to compile and run it")


def main(argv: list[str]) -> None:
    """Measure, write the record and its page, and print the page."""
    del argv
    record = results.start(results.OUTPUT.value) | {
        "epochs": experiment.CONFIG.value.train.epochs,
        "rounds": [_round() for _ in range(_ROUNDS.value)],
    }
    name = f"start_up_{experiment.name()}_{machine.device_name()}"
    print(results.write(record, page, results.OUTPUT.value, name))


def _round() -> dict[str, dict]:
    with tempfile.TemporaryDirectory() as folder:
        return {name: _run(pathlib.Path(folder) / name, f"{folder}/cache") for name in ("empty", "full")}


def _run(workdir: pathlib.Path, cache: str) -> dict:
    """Seconds of a run and of its first step, and the hash of its parameters."""
    seconds, printed = time_main([*experiment.arguments(), f"--workdir={workdir}"], cache)
    (first_step,) = _FIRST_STEP.findall(printed)
    params_sha256 = json.loads((workdir / "results.json").read_text())["params_sha256"]
    return {"first_step_seconds": float(first_step), "seconds": seconds, "params_sha256": params_sha256}


def page(record: results.Record) -> str:
    """Markdown: both starts, and whether their parameters are the same."""
    rounds = record["rounds"]
    hashes = {one["params_sha256"] for pair in rounds for one in pair.values()}

    def median(name: str, what: str) -> float:
        return statistics.median(pair[name][what] for pair in rounds)

    return results.page(
        "Starts without and with kept programs",
        record,
        f"Medians; rounds: {len(rounds)}.",
        results.table(
            ["compiled programs", "first step", f"whole command, {record['epochs']} epochs"],
            [
                [f"folder {n}", f"{median(n, 'first_step_seconds'):.1f} s", f"{median(n, 'seconds'):.0f} s"]
                for n in ("empty", "full")
            ],
        ),
        f"The parameters of all {2 * len(rounds)} runs are "
        + ("the same to the last bit." if len(hashes) == 1 else f"of {len(hashes)} kinds."),
    )


if __name__ == "__main__":
    for module in (experiment, results):
        flags.adopt_module_key_flags(module)  # for --help
    app.run(main)
