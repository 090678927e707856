"""Time and peak memory of the losses with their gradients: ours, other packages', and the bare matrix products.

    pip install -e '.[benchmark]'  # on Linux with CUDA's gigabytes, unless PyTorch's CPU build is there already
    python -m benchmarks.loss
    python -m benchmarks.loss --sizes 64 1024 4096 --dtype bfloat16

Each method computes the mean loss and its gradient by n embeddings; of two towers by n of each; with a queue of n rows
by those of a batch. Before anything is timed, the methods of a loss are
checked against each other. Within each n they run in turns, and the best of several rounds counts. A method is left
out, with its reason, where it is not installed, would not fit or would take too long. Only JAX is required.
"""

import argparse
import os
import pathlib
import re
import sys
from typing import Any

import jax
import numpy as np

from benchmarks import machine, memory, results
from benchmarks.loss_page import page, pictures
from benchmarks.methods import METHODS, Method
from benchmarks.problems import BATCH, ROWS_PER_CLASS, Problem, make_problem
from benchmarks.timing import interleave

DEFAULT_SIZES = [2**k for k in range(6, 18)]
LEAST_SIZE = 64
SIZE_UNIT = 512  # rows in a block of the bare products
CHECKED_SIZE = 1024
LEAST_ROUNDS = 3
TURN_SECONDS = 0.02
TOLERANCE = 1e-4
TOLERANCE_OF_BFLOAT16_GRADIENTS = 1e-2  # they are rounded to 8 bits


def main() -> None:
    """Measure, write the record and its page, and print the page."""
    options = _parse()
    # Both frameworks must find room on a GPU, so that JAX may not take most of it at the start.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax.config.update("jax_enable_compilation_cache", False)  # compiling is timed too
    name = f"loss_{machine.device_name()}" + ("" if options.dtype == "float32" else f"_{options.dtype}")
    record = results.start(options.output)
    for method in METHODS.values():
        if reason := machine.missing(method.needs):
            print(f"{method.title} is left out: {reason}.", file=sys.stderr)
    if reason := machine.missing(("matplotlib",)):
        print(f"No picture is drawn: {reason}.", file=sys.stderr)
    options.memory_limit = options.memory_limit or 0.6 * machine.free_memory()
    _check_agreement(options)
    record |= {
        "width": options.width,
        "classes": options.classes,
        "dtype": options.dtype,
        "memory_limit_bytes": int(options.memory_limit),
        "time_limit_seconds": options.time_limit,
        "titles": {name: method.title for name, method in METHODS.items()},
        "arrays": {name: method.num_arrays(options.width) for name, method in METHODS.items()},
        "queues": [name for name, method in METHODS.items() if method.queue],
        "batch": BATCH,
        "rows_per_class": ROWS_PER_CLASS,
        "turn_seconds": TURN_SECONDS,
        "sizes": {},
    }
    for size in sorted(options.sizes):
        record["sizes"][str(size)] = _measure(size, record["sizes"], options)
        # After each size, so that a benchmark that is stopped leaves what it found.
        text = results.write(record, page, options.output, name, pictures)
    print(text)


def _measure(size: int, smaller: dict[str, Any], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What is found of each method at one size; `smaller` has the same of the sizes before."""
    found: dict[str, dict[str, Any]] = {}
    runs, compiled_bytes, compile_seconds = {}, {}, {}
    problem = make_problem(size, options.width, options.classes, options.dtype)
    for name, method in METHODS.items():
        if reason := _reason_to_skip(name, method, size, smaller, options):
            found[name] = {"left_out": reason}
            continue
        prepared = method.prepare(problem)
        runs[name], compiled_bytes[name] = prepared.run, prepared.compiled_bytes
        compile_seconds[name] = prepared.compile_seconds
    times, failed = interleave(runs, options.seconds, LEAST_ROUNDS, turn_seconds=TURN_SECONDS)
    runs.clear()  # the inputs of this size are no longer needed
    found |= {name: {"left_out": reason} for name, reason in failed.items()}
    for name, seconds in times.items():
        found[name] = {"seconds": min(seconds), "all_seconds": [round(x, 7) for x in seconds]}
        if compile_seconds[name] is not None:
            found[name]["compile_seconds"] = round(compile_seconds[name], 3)
        # After all timing, so that it disturbs none of it.
        if compiled_bytes[name] is not None:
            found[name] |= {"bytes": compiled_bytes[name], "bytes_from": "compiler"}
        elif machine.on_gpu():
            measured = memory.peak_on_gpu(METHODS[name].prepare(problem))
            found[name] |= {"bytes": measured, "bytes_from": "measured"}
        else:
            measured = memory.measured_bytes(name, size, options.width, options.classes, options.dtype)
            found[name] |= {"bytes": measured, "bytes_from": "measured"}
        print(f"n = {size:,}  {METHODS[name].title}: {min(seconds):.4g} s", file=sys.stderr, flush=True)
    return {name: found[name] for name in METHODS}


def _reason_to_skip(
    name: str, method: Method, size: int, smaller: dict[str, Any], options: argparse.Namespace
) -> str | None:
    if reason := machine.missing(method.needs):
        return reason
    if method.estimated_bytes(size, options.width) > options.memory_limit:
        shape = f"{BATCH} x n" if method.queue else "n x n"
        arrays = f"{method.num_arrays(options.width):g} {shape} arrays of float32"
        return f"{arrays} would take more than the limit of {options.memory_limit / 1e9:.1f} GB"
    timed = {int(n): methods[name]["seconds"] for n, methods in smaller.items() if "seconds" in methods[name]}
    if timed:
        growth = method.num_pairs(size) / method.num_pairs(max(timed))
        if timed[max(timed)] * growth > options.time_limit:
            return f"a run would take more than the limit of {options.time_limit:g} s"
    return None


def _check_agreement(options: argparse.Namespace) -> None:
    """Refuse to time methods that do not compute the same.

    Raises:
      SystemExit: two methods of a loss differ.
    """
    problem = make_problem(CHECKED_SIZE, options.width, options.classes, options.dtype)
    gradient_tolerance = TOLERANCE if options.dtype == "float32" else TOLERANCE_OF_BFLOAT16_GRADIENTS
    ours: dict[str, tuple[str, float, np.ndarray]] = {}
    for name, method in METHODS.items():
        if method.loss == "none" or _reason_to_skip(name, method, CHECKED_SIZE, {}, options):
            continue
        prepared = method.prepare(problem)
        loss, gradient = prepared.read(prepared.run())
        if method.loss not in ours:
            ours[method.loss] = method.title, loss, gradient
            continue
        title, wanted_loss, wanted = ours[method.loss]
        if method.normalizes:
            wanted, gradient = _along_sphere(problem, wanted), _along_sphere(problem, gradient)
        loss_error = abs(loss - wanted_loss) / abs(wanted_loss)
        gradient_error = float(np.max(np.abs(gradient - wanted)) / np.max(np.abs(wanted)))
        if not (loss_error <= TOLERANCE and gradient_error <= gradient_tolerance):
            raise SystemExit(
                f"error: '{method.title}' and '{title}' do not compute the same at n = {CHECKED_SIZE:,}: relative "
                f"error {loss_error:.1e} of the loss and {gradient_error:.1e} of the gradient, so nothing is timed."
            )


def _along_sphere(problem: Problem, gradient: np.ndarray) -> np.ndarray:
    """Without the part along each row, of which a method that normalises rows knows nothing."""
    rows = problem.embeddings
    return gradient - np.sum(gradient * rows, axis=1, keepdims=True) * rows


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loss", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", nargs="+", type=_size, default=DEFAULT_SIZES, metavar="N", help="numbers of rows"
    )
    parser.add_argument("--classes", type=_positive(int), default=100, help="random classes (default: 100)")
    parser.add_argument(
        "--width", type=_positive(int), default=128, help="columns of the embeddings (default: 128)"
    )
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="of the embeddings"
    )
    parser.add_argument("--memory-limit", type=_bytes, help="as in 6GB; by default 60 %% of the free memory")
    parser.add_argument(
        "--time-limit", type=_positive(float), default=300.0, help="seconds of one run (default: 300)"
    )
    parser.add_argument(
        "--seconds",
        type=_positive(float),
        default=20.0,
        help="spent on each size, but for at least three rounds (default: 20)",
    )
    parser.add_argument("--output", type=pathlib.Path, default=results.FOLDER, help="a folder")
    return parser.parse_args()


def _size(text: str) -> int:
    size = int(text) if text.isdigit() else 0
    if size < LEAST_SIZE or (size & (size - 1) if size < SIZE_UNIT else size % SIZE_UNIT):
        raise argparse.ArgumentTypeError(
            f"'{text}', expected a power of two from {LEAST_SIZE} up or a multiple of {SIZE_UNIT}"
        )
    return size


def _positive(kind: type) -> Any:
    def parse(text: str) -> float:
        if kind(text) <= 0:
            raise argparse.ArgumentTypeError(f"'{text}', expected a number above 0")
        return kind(text)

    return parse


def _bytes(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(MB|GB)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}', expected a number with its unit, as in 6GB or 500MB")
    return float(match[1]) * {"MB": 1e6, "GB": 1e9}[match[2]]


if __name__ == "__main__":
    main()
