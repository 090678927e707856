"""Time and peak memory of the losses with their gradients: ours, other packages', and the bare matrix products.

    pip install -e '.[benchmark]'  # on Linux with CUDA's gigabytes, unless PyTorch's CPU build is there already
    python -m benchmarks.loss
    python -m benchmarks.loss --sizes 1024 4096 --dtype bfloat16

Each method computes the mean loss and its gradient by n embeddings. Before anything is timed, the methods of a loss are
checked against each other. Within each n they run in turns, and the best of several rounds counts. A method is left
out, with its reason, where it is not installed, would not fit or would take too long. A table goes to stdout; table,
figures and a picture go to --output. Only JAX is required.
"""

import argparse
import os
import pathlib
import re
import shlex
import sys
import time

import numpy as np

from benchmarks import machine, memory, report
from benchmarks.methods import METHODS, Method
from benchmarks.problems import Problem, make_problem
from benchmarks.timing import interleave
from tcl_jax.errors import RunFailed, UserError

DEFAULT_SIZES = [2**k for k in range(10, 18)]
SIZE_UNIT = 512  # rows in a block of the bare products
CHECKED_SIZE = 1024
LEAST_ROUNDS = 3
TOLERANCE = 1e-4
TOLERANCE_OF_BFLOAT16_GRADIENTS = 1e-2  # they are rounded to 8 bits


def main() -> None:
    options = _parse(sys.argv[1:])
    # Both frameworks must find room on a GPU, so that JAX may not take most of it at the start.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    prefix = f"loss_{machine.device_name()}" + ("" if options.dtype == "float32" else f"_{options.dtype}")
    _check_writable(options.output)
    usable = {}
    for name, method in METHODS.items():
        if reason := machine.missing(method.needs):
            print(f"{method.title} is left out: {reason}.", file=sys.stderr)
        else:
            usable[name] = method
    if reason := machine.missing(("matplotlib",)):
        print(f"No picture is drawn: {reason}.", file=sys.stderr)
    limit = options.memory_limit or 0.6 * machine.free_memory()

    _check_agreement(usable, limit, options)
    record = {
        "command": _command(options),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "load_before": machine.load(),
        "width": options.width,
        "classes": options.classes,
        "dtype": options.dtype,
        "memory_limit_bytes": int(limit),
        "time_limit_seconds": options.time_limit,
        "titles": {name: method.title for name, method in METHODS.items()},
        "arrays": {name: method.num_arrays(options.width) for name, method in METHODS.items()},
        "sizes": {},
    }
    previous: dict[str, tuple[int, float]] = {}
    for size in sorted(options.sizes):
        record["sizes"][str(size)] = _measure(size, usable, previous, limit, options)
        record["load_after"] = machine.load()
        # After each size, so that a run that is stopped leaves what it found.
        report.write(record, options.output, prefix)
    print(report.markdown(record))


def _measure(
    size: int,
    usable: dict[str, Method],
    previous: dict[str, tuple[int, float]],
    memory_limit: float,
    options: argparse.Namespace,
) -> dict[str, dict[str, object]]:
    """Figures of all methods at one size; `previous`, the last (size, seconds) of each, is brought up to date."""
    figures: dict[str, dict[str, object]] = {}
    runs, compiled_bytes = {}, {}
    problem = make_problem(size, options.width, options.classes, options.dtype)
    for name, method in METHODS.items():
        reason = _reason_to_skip(name, method, size, usable, previous, memory_limit, options)
        if reason:
            figures[name] = {"left_out": reason}
            continue
        prepared = method.prepare(problem)
        runs[name], compiled_bytes[name] = prepared.run, prepared.compiled_bytes
    times, failed = interleave(runs, options.seconds, at_least=LEAST_ROUNDS)
    runs.clear()  # the inputs of this size are no longer needed
    for name, reason in failed.items():
        figures[name] = {"left_out": reason}
    for name, seconds in times.items():
        previous[name] = size, min(seconds)
        figures[name] = {"seconds": min(seconds), "all_seconds": [round(x, 6) for x in seconds]}
        # After all timing, so that it disturbs none of it.
        if compiled_bytes[name] is not None and not machine.on_gpu():
            figures[name] |= {"bytes": compiled_bytes[name], "bytes_from": "compiler"}
        else:
            measured = memory.measured_bytes(name, size, options.width, options.classes, options.dtype)
            figures[name] |= {"bytes": measured, "bytes_from": "measured", "compiled": compiled_bytes[name]}
        print(f"n = {size:,}  {METHODS[name].title}: {min(seconds):.4g} s", file=sys.stderr, flush=True)
    return {name: figures[name] for name in METHODS}


def _reason_to_skip(
    name: str,
    method: Method,
    size: int,
    usable: dict[str, Method],
    previous: dict[str, tuple[int, float]],
    memory_limit: float,
    options: argparse.Namespace,
) -> str | None:
    if name not in usable:
        return machine.missing(method.needs)
    if method.estimated_bytes(size, options.width) > memory_limit:
        arrays = f"{method.num_arrays(options.width):g} n x n arrays of float32"
        return f"{arrays} would take more than the limit of {memory_limit / 1e9:.1f} GB"
    if name in previous:
        last_size, last_seconds = previous[name]
        if last_seconds * (size / last_size) ** 2 > options.time_limit:
            return f"a run would take more than the limit of {options.time_limit:g} s"
    return None


def _check_agreement(usable: dict[str, Method], memory_limit: float, options: argparse.Namespace) -> None:
    """Refuse to time methods that do not compute the same."""
    problem = make_problem(CHECKED_SIZE, options.width, options.classes, options.dtype)
    gradient_tolerance = TOLERANCE if options.dtype == "float32" else TOLERANCE_OF_BFLOAT16_GRADIENTS
    ours: dict[str, tuple[str, float, np.ndarray]] = {}
    for method in usable.values():
        if method.loss == "none" or method.estimated_bytes(CHECKED_SIZE, options.width) > memory_limit:
            continue
        prepared = method.prepare(problem)
        loss, gradient = prepared.read(prepared.run())
        if method.loss not in ours:
            ours[method.loss] = method.title, loss, gradient
            continue
        title, wanted_loss, wanted = ours[method.loss]
        if method.normalizes:
            wanted = _along_sphere(problem, wanted)
            gradient = _along_sphere(problem, gradient)
        loss_error = abs(loss - wanted_loss) / abs(wanted_loss)
        gradient_error = float(np.max(np.abs(gradient - wanted)) / np.max(np.abs(wanted)))
        if not (loss_error <= TOLERANCE and gradient_error <= gradient_tolerance):
            raise RunFailed(
                f"'{method.title}' and '{title}' do not compute the same at n = {CHECKED_SIZE:,}: relative error "
                f"{loss_error:.1e} of the loss and {gradient_error:.1e} of the gradient, so nothing is timed."
            )


def _along_sphere(problem: Problem, gradient: np.ndarray) -> np.ndarray:
    """Without the part along each row, of which a method that normalises rows knows nothing."""
    rows = problem.embeddings
    return gradient - np.sum(gradient * rows, axis=1, keepdims=True) * rows


def _parse(arguments: list[str]) -> argparse.Namespace:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str):
            raise UserError(f"{message[0].upper()}{message[1:]}; --help lists the options.")

    parser = Parser(prog="python -m benchmarks.loss", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=DEFAULT_SIZES, metavar="N", help="numbers of rows")
    parser.add_argument("--classes", type=int, default=100, help="number of random classes (default: 100)")
    parser.add_argument("--width", type=int, default=128, help="columns of the embeddings (default: 128)")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="of the embeddings"
    )
    parser.add_argument("--memory-limit", help="as in 6GB; by default 60 %% of the free memory")
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds of one run (default: 300)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="spent on each size, but for at least three rounds (default: 60)",
    )
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results", help="a folder"
    )
    options = parser.parse_args(arguments)
    options.sizes = [_size(text) for text in options.sizes]
    options.memory_limit = _bytes(options.memory_limit)
    for name in ("classes", "width", "time_limit", "seconds"):
        if getattr(options, name) <= 0:
            raise UserError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}, expected a number above 0."
            )
    return options


def _size(text: str | int) -> int:
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < 2 * SIZE_UNIT or size % SIZE_UNIT:
        raise UserError(f"--sizes has '{text}', expected multiples of {SIZE_UNIT} from {2 * SIZE_UNIT} up.")
    return size


def _bytes(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(MB|GB)", text)
    if not match:
        raise UserError(f"--memory-limit is '{text}', expected a number with its unit, as in 6GB or 500MB.")
    return float(match[1]) * {"MB": 1e6, "GB": 1e9}[match[2]]


def _check_writable(folder: pathlib.Path) -> None:
    """Before hours of work, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--output is '{folder}', which cannot be written: {error.strerror}.") from None


def _command(options: argparse.Namespace) -> str:
    """What to type for the same run; without --output, which is the writer's own."""
    arguments = ["python", "-m", "benchmarks.loss", "--sizes", *map(str, options.sizes)]
    arguments += ["--classes", str(options.classes), "--width", str(options.width), "--dtype", options.dtype]
    if options.memory_limit:
        arguments += ["--memory-limit", f"{options.memory_limit / 1e9:g}GB"]
    arguments += ["--time-limit", f"{options.time_limit:g}", "--seconds", f"{options.seconds:g}"]
    return shlex.join(arguments)


if __name__ == "__main__":
    try:
        main()
    except (UserError, RunFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
