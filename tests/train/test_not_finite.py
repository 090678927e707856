"""Steps that are not finite, left out: on the device, in the curve, in the results."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from tcl_jax.errors import RunFailed
from tcl_jax.experiment.results import final_train_loss
from tcl_jax.parallel import split_batch
from tcl_jax.run.metrics_log import SINKS, MetricsLog, read_metrics
from tests.run.events import shown
from tests.train.small import HYPER, batch, parts_on
from tests.train.stand_ins import Bench, Loss, Recorder, run_loop

pytestmark = pytest.mark.xdist_group("small")  # they share what is compiled

NAN = np.float32(np.nan)


def skipping_parts():
    """A step that leaves out what is not finite."""
    return parts_on(8, skip_not_finite=True)


def on_host(state):
    return jax.tree.map(np.array, state)


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_step_that_is_not_finite_leaves_no_trace_but_in_the_counts():
    parts = skipping_parts()
    # The third step is that of step number 2 in both runs: its views are the same.
    runs = []
    for broken in (None, HYPER._replace(temperature=NAN)):
        state, skipped = parts.state(), []
        for number, hyper in enumerate((HYPER, broken, HYPER, HYPER)):
            if hyper is None:
                state = state._replace(step=state.step + 1)
                continue
            before = on_host(state)
            state, metrics = parts.step(state, split_batch(batch(number), parts.mesh), hyper)
            skipped.append(int(metrics["skipped"]))
            if hyper is broken:
                assert_same_bits(
                    on_host(state)._replace(step=0, skipped=0), before._replace(step=0, skipped=0)
                )
                assert (int(state.step), int(state.skipped)) == (2, 1)
                assert not np.isfinite(metrics["loss"])
        runs.append((on_host(state), skipped))
    (without, never), (left_out, once) = runs
    assert never == [0, 0, 0]
    assert once == [0, 1, 0, 0]
    assert (int(without.skipped), int(left_out.skipped)) == (0, 1)
    assert_same_bits(left_out._replace(skipped=0), without._replace(skipped=0))
    assert parts.step._cache_size() == 1


@pytest.mark.slow
def test_steps_are_those_without_the_choice_to_skip():
    """In 64-bit: two programs may round differently."""
    with jax.enable_x64(True):
        kept, plain = (
            on_host(parts_on(8, param_dtype=jnp.float64, skip_not_finite=skips).run(3)[0])
            for skips in (True, False)
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), kept, plain)


def test_an_infinite_learning_rate_ruins_the_state_and_every_later_step_is_skipped():
    parts = skipping_parts()
    state, skipped = parts.state(), []
    for number, rate in enumerate((np.inf, 0.05, 0.05)):
        hyper = HYPER._replace(learning_rate=np.float32(rate))
        state, metrics = parts.step(state, split_batch(batch(number), parts.mesh), hyper)
        skipped.append(int(metrics["skipped"]))
    assert skipped == [0, 1, 1]


def skipping(bench, skips):
    """One step for each: None is skipped, else the loss."""
    for number, loss in enumerate(skips, start=bench.steps + 1):
        bench.steps, bench.now = number, bench.now + 1
        metrics = {
            "loss": Loss(bench, np.nan if loss is None else loss),
            "skipped": np.int32(loss is None),
            "alignment": np.float32(np.nan if loss is None else 7),
        }
        bench.curve.add(number, 0, 0.1, metrics, 0.0)


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def test_a_record_is_of_the_steps_that_counted_and_counts_the_others(bench):
    for interval in ([1.0, None, 2.0], [4.0, None], [None, None], [3.0]):
        skipping(bench, interval)
        bench.curve.close_interval()
    bench.curve.flush()
    assert [(r["loss"], r["steps"], r.get("skipped")) for r in bench.records] == [
        (1.5, 3, 1),
        (4.0, 2, 1),
        (None, 2, 2),
        (3.0, 1, None),
    ]
    # The diagnostics are those of a record's last step.
    assert [r.get("alignment") for r in bench.records] == [7, None, None, 7]
    assert bench.shown == "epoch 1, loss 3.0000"


def test_a_loss_that_is_not_finite_but_was_not_skipped_still_ends_the_run(bench):
    skipping(bench, [1.0, np.inf])
    with pytest.raises(RunFailed, match="The loss became inf at step 2"):
        bench.curve.flush()


@pytest.mark.parametrize("length", [1, 4, 100])
def test_ten_skipped_steps_in_a_row_end_the_run_however_long_the_records(bench, length):
    def feed(losses):
        for start in range(0, len(losses), length):
            skipping(bench, losses[start : start + length])
            bench.curve.close_interval()
        bench.curve.flush()

    feed([1.0, *[None] * 9, 1.0, *[None] * 9])
    with pytest.raises(
        RunFailed,
        match=r"10 steps in a row were skipped, as .* finite at step 21; the last good .* is that of step 3: try",
    ):
        feed([None])


def test_skipped_steps_on_disk_are_json_and_points_of_their_own(bench, tmp_path):
    with MetricsLog(epath.Path(tmp_path / "metrics.jsonl"), after_step=0, sinks=SINKS) as log:
        bench.curve._log = log
        skipping(bench, [1.0, None])
        bench.curve.close_interval()
        skipping(bench, [None, None])
        bench.curve.flush()

    def refuse(name):
        raise AssertionError(name)

    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=refuse) for line in lines]  # NaN is not JSON
    assert records == read_metrics(epath.Path(tmp_path / "metrics.jsonl"))
    points = shown(tmp_path / "tensorboard")
    assert points["train/loss"] == [(2, 1.0)]
    assert points["train/skipped"] == [(2, 1.0), (4, 2.0)]


def test_the_final_loss_is_that_of_the_steps_that_counted():
    def record(epoch, loss, steps, **skipped):
        return {"epoch": epoch, "loss": loss, "steps": steps, **skipped}

    early, late = (
        record(0, 9.0, 2),
        [record(1, 1.0, 3, skipped=2), record(1, 4.0, 2), record(1, None, 2, skipped=2)],
    )
    assert final_train_loss([early, *late, {"epoch": 2, "validation_knn": 0.5}]) == pytest.approx(
        (1 + 2 * 4) / 3
    )
    assert final_train_loss([early, late[-1]]) is None
    assert final_train_loss([]) is None


class Skips(Recorder):
    """Leaves out some steps, as the step on the device does."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers = numbers

    def step(self, state, batch, hyper):
        state, metrics = super().step(state, batch, hyper)
        skipped = int(state.step) in self.numbers
        metrics["loss"] = jnp.float32(math.nan) if skipped else metrics["loss"]
        metrics["skipped"] = jnp.int32(skipped)
        return state, metrics


def test_the_loop_records_every_skipped_step():
    recorder, _ = run_loop(recorder=Skips({1, 3, 5, 7, 8}))
    # Records of two steps and of the one that is left at the end of an epoch.
    assert [(r["step"], r["loss"], r.get("skipped", 0)) for r in recorder.records] == [
        (2, 4, 1),
        (3, None, 1),
        (5, 16, 1),
        (6, 36, 0),
        (8, None, 2),
        (9, 81, 0),
    ]
