"""The benchmark of the losses: its rows compute what they say, at the fewest rows too, and its page has all of them."""

import argparse
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks import loss, loss_page, machine, timing
from benchmarks.methods import METHODS
from benchmarks.problems import BATCH, make_problem

AVAILABLE = [name for name, method in METHODS.items() if not machine.missing(method.needs)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in AVAILABLE if METHODS[name].loss != "none"])
def test_methods_of_a_loss_agree_with_the_dense_form_in_float64(name: str) -> None:
    """Not with each other alone, as before a measurement: with a float64 formula without tiles."""
    problem = make_problem(64, 8, 100, "float32")
    prepared = METHODS[name].prepare(problem)
    value, gradient = prepared.read(prepared.run())
    wanted, wanted_gradient = _by_formula(METHODS[name].loss, problem)
    if METHODS[name].normalizes:
        wanted_gradient, gradient = (loss._along_sphere(problem, x) for x in (wanted_gradient, gradient))
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    np.testing.assert_allclose(gradient, wanted_gradient, atol=1e-4 * np.abs(wanted_gradient).max())


def _by_formula(name: str, problem: Any) -> tuple[float, np.ndarray]:
    jnp = jax.numpy

    def mean_of_rows(logits: jax.Array, same: np.ndarray, pair: np.ndarray, k1: float = 0.0) -> jax.Array:
        """Mean of log D_i - mean over positives of the logits, over the anchors with a positive."""
        positive = same & pair
        terms = jnp.where(pair, jnp.exp(logits), 0) + k1 * jnp.where(positive, jnp.exp(-logits * t), 0)
        count = positive.sum(1)
        rows = jnp.log(terms.sum(1)) - jnp.where(positive, logits, 0).sum(1) / np.maximum(count, 1)
        return jnp.where(count > 0, rows, 0).sum() / (count > 0).sum()

    t = 0.1
    n = problem.size

    def batch(z: jax.Array) -> jax.Array:
        labels = problem.images if name == "NT-Xent" else problem.labels
        same = labels[:, None] == labels
        return mean_of_rows(z @ z.T / t, same, ~np.eye(n, dtype=bool), 5000.0 if name == "TCL" else 0.0)

    def queue(z: jax.Array) -> jax.Array:
        columns = jnp.concatenate([z, jnp.asarray(problem.embeddings, jnp.float64)])
        labels = np.concatenate([problem.batch_labels, problem.labels])
        same = problem.batch_labels[:, None] == labels
        return mean_of_rows(z @ columns.T / t, same, ~np.eye(BATCH, BATCH + n, dtype=bool))

    def clip(both: jax.Array) -> jax.Array:
        logits = 10.0 * both[:n] @ both[n:].T
        log = (jax.nn.logsumexp(logits, 0) + jax.nn.logsumexp(logits, 1)) / 2
        return (log - jnp.diag(logits)).mean()

    def siglip(both: jax.Array) -> jax.Array:
        signs = 2 * np.eye(n) - 1
        return jax.nn.softplus(-signs * (10.0 * both[:n] @ both[n:].T - 10.0)).sum() / n

    function = {"queue": queue, "CLIP": clip, "SigLIP": siglip}.get(name, batch)
    towers = np.concatenate([problem.embeddings, problem.others])
    rows = {"queue": problem.batch, "CLIP": towers, "SigLIP": towers}.get(name, problem.embeddings)
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(function)(jnp.asarray(rows, jnp.float64))
        return float(value), np.asarray(gradient)


@pytest.mark.parametrize("size", ["64", "128", "256", "512", "1024", "1536", "131072"])
def test_sizes_are_powers_of_two_or_whole_blocks(size: str) -> None:
    assert loss._size(size) == int(size)


@pytest.mark.parametrize("size", ["0", "32", "96", "500", "700", "-64", "64.0", "many"])
def test_another_size_is_named(size: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{size}', expected a power of two from 64 up or"):
        loss._size(size)


def test_a_small_problem_has_positives_and_all_its_towers_have_unit_rows() -> None:
    problem = make_problem(64, 8, 100, "float32")
    assert problem.labels.max() < 8
    assert problem.batch_labels.max() < 8
    for rows in (problem.embeddings, problem.others, problem.batch):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    assert not np.array_equal(problem.embeddings, problem.others)


def test_a_queue_grows_with_n_and_not_with_its_square() -> None:
    growth = {
        name: METHODS[name].num_pairs(8192) / METHODS[name].num_pairs(4096) for name in ("tcl", "queue")
    }
    assert growth["tcl"] == 4
    assert growth["queue"] == (256 + 8192) / (256 + 4096)


def test_short_runs_fill_a_turn_and_their_mean_counts(monkeypatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock) * 0.01)
    assert timing._mean_seconds(lambda: None, 0.0) == pytest.approx(0.01)
    runs = []
    assert timing._mean_seconds(lambda: runs.append(1), 0.035) == pytest.approx(0.01)
    assert len(runs) == 4


def test_page_has_compile_times_and_compares_every_loss_with_its_dense_form() -> None:
    times = dict(products=1.0, clip=2.0, clip_dense=1.0, clip_open=8.0, queue=3.0, queue_dense=3.0)
    compiling = dict(products=0.1, clip=0.5, clip_dense=0.2, queue=0.4, queue_dense=0.3)
    found = {
        name: {"seconds": seconds, "all_seconds": [seconds], "bytes": None}
        | ({"compile_seconds": compiling[name]} if name in compiling else {})
        for name, seconds in times.items()
    }
    versions = {"jax": "1.2.3", "open-clip-torch": "3.2.1"}
    text = loss_page.page(
        {
            "command": "python -m benchmarks.loss",
            "date": "2026-01-01",
            "machine": {
                "platform": "cpu",
                "device": "CPU",
                "processor": "one",
                "cores": 2,
                "memory_gb": 8,
                "versions": versions,
            },
            "width": 8,
            "classes": 100,
            "dtype": "float32",
            "titles": {name: METHODS[name].title for name in times},
            "queues": ["queue", "queue_dense"],
            "batch": 256,
            "rows_per_class": 8,
            "turn_seconds": 0.02,
            "sizes": {"64": found},
        }
    )
    _, _, ratios, _, compile_times, *_ = (part.split("\n\n- At")[0] for part in text.split(":\n\n"))
    assert "open-clip-torch 3.2.1" in text
    assert "| CLIP, tcl_jax | 2.00 |" in text
    assert "queue" not in ratios
    assert "| CLIP, tcl_jax | 500 ms |" in compile_times
    assert "| CLIP, open_clip | - |" in compile_times
    assert "At worst a loss takes 2.00 x the time of its dense form (CLIP, tcl_jax, n = 64); wanted" in text
    assert (
        "At worst a loss compiles in 2.50 x the time of its dense form (CLIP, tcl_jax, n = 64); wanted"
        in text
    )
