"""All that is worth measuring on a GPU that is there for less than half an hour, in order of worth.

    python -m benchmarks.gpu --data_dir=.data --output=/out
    python -m benchmarks.gpu --small --output=/tmp/out  # the same at its smallest, to try it on a CPU

Starts one command after the other, each with a limit of time, and has each on record as soon as it has ended; their own
records are in the same folder, what they print is in its logs/. Repeat the command to make those that are not done. A
study begins with the runs that the folder's record of it has: copy it there from benchmarks/results/ to go on with it.
"""

import contextlib
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from absl import app, flags

from benchmarks import folders, machine, results
from benchmarks.results import Record

_MINUTES = flags.DEFINE_float(
    "minutes", 25, "For all of it: what has not begun then is left for another time."
)
_SMALL = flags.DEFINE_bool("small", False, "Whether to take the smallest sizes, to try the commands.")

DONE = "done"
_SECONDS_TO_SAVE = 30  # that a training has for its checkpoint when its time is over


class Point(NamedTuple):
    """Attributes:
    command: what to type after `python`.
    small: the same at its smallest; "" where another point tries the same code.
    folders: options that differ between machines; {output}, {runs} and {data_dir} are filled in.
    minutes: its limit, some three times what is expected.
    needs: packages.
    """

    command: str
    small: str
    folders: str
    minutes: float
    needs: tuple[str, ...] = ()


_TESTS = "-m pytest -q -p no:xdist -m 'slow or not slow'"
_OUTPUT = "--output={output}"
_OF_STUDY = "--output={output} --runs={runs} --data_dir={data_dir}"
_SMALL_STEP = (
    "-m benchmarks.train_step --config=configs/digits_tcl.py --config.model.width=1 --steps=1 --seconds=0.1"
)


def _loss(dtype: str) -> Point:
    sizes = "4096 8192 16384 32768 65536 131072 262144"
    return Point(
        f"-m benchmarks.loss --dtype={dtype} --sizes {sizes} --seconds=2 --time-limit=5",
        f"-m benchmarks.loss --dtype={dtype} --sizes 64 1024 --width=8 --seconds=0.1",
        _OUTPUT,
        4,
    )


def _step(network: str, images: int, minutes: float, small: str = "") -> Point:
    return Point(
        f"-m benchmarks.train_step --config=configs/protocol.py:cifar10_{network} "
        f"--config.train.batch_size={images} --seconds=15",
        small,
        f"{_OUTPUT} --config.data.data_dir={{data_dir}}",
        minutes,
    )


def _study(name: str, minutes: float, small: str = "") -> Point:
    return Point(f"-m benchmarks.accuracy --study={name}", small, _OF_STUDY, minutes)


POINTS = {
    "numbers": Point(
        f"{_TESTS} tests/losses/test_golden.py tests/train/test_golden_training.py -k 'one_device or training'",
        f"{_TESTS} tests/losses/test_golden.py -k 'one_device and tcl_small_k'",
        "",
        3,
        ("pytest",),
    ),
    "loss_float32": _loss("float32"),
    "loss_bfloat16": _loss("bfloat16"),
    "step_resnet18": _step("resnet18", 512, 3, _SMALL_STEP),
    "step_resnet50": _step("resnet50", 512, 3),
    "study_cifar10": _study("hundred_epochs_cifar10", 12, "-m benchmarks.accuracy --study=smallest"),
    "study_fashion_mnist": _study("hundred_epochs_fashion_mnist", 8),
    "profile": Point(
        "main.py --config=configs/protocol.py:cifar10_resnet50 --config.train.batch_size=512 --config.train.epochs=1 "
        "--config.train.warmup_epochs=0 --config.validation.images=0 --profile_steps=10",
        "main.py --config=configs/digits_tcl.py --config.model.width=1 --config.train.epochs=1 "
        "--config.train.warmup_epochs=0 --profile_steps=2",
        "--workdir={output}/profiled_run --config.data.data_dir={data_dir}",
        2,
    ),
    "step_resnet50_large_batch": _step("resnet50", 4096, 3),
    "step_resnet18_large_batch": _step("resnet18", 4096, 3),
    "step_resnet18_small_batch": _step("resnet18", 128, 2),
    "study_cifar10_resnet50": _study("cifar10_resnet50", 60),
}
"""In order of worth. The last takes what time is left, and is not expected to end."""


def main(argv: list[str]) -> None:
    """Make what is not done yet, with a record after each, and print the page."""
    del argv
    ends = time.monotonic() + 60 * _MINUTES.value
    folder = pathlib.Path(results.OUTPUT.value)
    results.check_folder(folder)
    (folder / "logs").mkdir(exist_ok=True)
    here = machine.describe_elsewhere()
    path = folder / f"gpu_{'small_' * _SMALL.value}{machine.in_file_name(here['device'])}.json"
    before = json.loads(path.read_text())["points"] if path.exists() else {}
    record = results.start(folder) | {"machine": here, "points": {}}
    for name, point in POINTS.items():
        if _SMALL.value and not point.small:
            continue
        if before.get(name, {}).get("state") == DONE:
            record["points"][name] = before[name]
            continue
        command = shlex.split(point.small if _SMALL.value else point.command)
        seconds = min(60 * point.minutes, ends - time.monotonic())
        record["points"][name] = {"command": shlex.join(["python", *command])}
        print(f"{name}: at most {max(0, seconds):.0f} s", flush=True)
        if reason := machine.missing(point.needs):
            found = {"state": f"left out: {reason}"}
        elif seconds <= 0:
            found = {"state": "not begun: no time was left"}
        else:
            began = time.monotonic()
            state = _run(
                [sys.executable, *command, *_folders(point)], folder / "logs" / f"{name}.log", seconds, here
            )
            found = {"state": state, "seconds": round(time.monotonic() - began, 1)}
        record["points"][name] |= found
        print(f"{name}: {found['state']}", flush=True)
        results.write_files(record, page, folder, path.stem, lambda record: {})
    print(path.with_suffix(".md").read_text())


def _folders(point: Point) -> list[str]:
    values = {"output": results.OUTPUT.value, "runs": folders.RUNS.value, "data_dir": folders.DATA_DIR.value}
    return [word.format(**values) for word in point.folders.split()]


def _run(command: list[str], log: pathlib.Path, seconds: float, here: Record) -> str:
    """How a command ended that has so many seconds; what it prints goes into a file."""
    environment = dict(os.environ)
    if here["platform"] == "gpu":  # the tests choose a CPU where nothing is chosen
        environment["JAX_PLATFORMS"] = "cuda,cpu"
    with log.open("w") as output, _group(command, environment, output) as process:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return "stopped: its time was over"
    return f"failed with exit code {code}, see logs/{log.name}" if code else DONE


@contextlib.contextmanager
def _group(command: list[str], environment: dict[str, str], output: object) -> Iterator[subprocess.Popen]:
    """A command with all that it starts, which ends with the context: trainings save, then all are killed."""
    process = subprocess.Popen(
        command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            ends = time.monotonic() + _SECONDS_TO_SAVE
            while time.monotonic() < ends:
                process.poll()  # so that it does not stay in the group as one that has ended
                os.killpg(process.pid, 0)
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def page(record: Record) -> str:
    """Markdown: each command, how it ended, and how long it took."""
    return results.page(
        "All that is worth measuring on a GPU",
        record,
        results.table(
            ["", "command", "state", "time"],
            [
                [
                    name,
                    f"`{point['command']}`",
                    point["state"],
                    f"{point['seconds']:.0f} s" if "seconds" in point else "-",
                ]
                for name, point in record["points"].items()
            ],
            texts=3,
        ),
    )


def _terminate(number: int, frame: object) -> None:
    """SIGTERM ends as Ctrl-C does: with the command that is running."""
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    for module in (folders, results):
        flags.adopt_module_key_flags(module)  # for --help
    signal.signal(signal.SIGTERM, _terminate)
    app.run(main)
