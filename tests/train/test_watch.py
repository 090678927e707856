"""The watch on runs that do not learn, on records as runs leave them."""

import numpy as np
import pytest

from tcl_jax.train.watch import Watch, collapse

RATES = np.full(900, 0.1, np.float32)
COLLAPSED = dict(collapsed_loss=4.85, uniformity=-0.0004, rank=1.3)


def records(losses, *, every=10, **more):
    return [
        {"step": every * (i + 1), "epoch": 0, "loss": loss, **COLLAPSED, **more}
        for i, loss in enumerate(losses)
    ]


def first_warning(records, rates=RATES):
    """The step of the first record at which something is found."""
    ends = range(1, len(records) + 1)
    return next((records[end - 1]["step"] for end in ends if collapse(records[:end], rates)), None)


STUCK = [5.1, *[4.852, 4.848] * 50]
LATE = [5.3, *[4.85] * 20, *np.linspace(4.8, 3.0, 40)]  # as TCL at high rates, which parts after 200 steps


@pytest.mark.parametrize(
    ("losses", "rates", "step"),
    [
        (STUCK, RATES, 300),  # a third of all steps
        (STUCK, RATES[:300], 200),  # never sooner than after 200
        (STUCK, np.full(10**6, 0.1), None),
        (STUCK, np.concatenate([np.linspace(0, 1, 100), RATES]), 440),  # when the warm-up is over
        (STUCK, np.linspace(0, 1, 900), None),
        (LATE, RATES, None),
        (np.linspace(5.5, 2.6, 90), RATES, None),
        ([*np.linspace(4.5, 4.2, 40), *[4.85] * 60], RATES, 630),  # it falls together in the middle
        ([4.85, 4.85, None, 4.85, np.float64(4.86)] * 20, RATES, 300),  # steps were skipped
        ([5.1, *[4.84, 4.80, 4.83] * 30], RATES, None),  # little better, but better
    ],
)
def test_a_run_is_stuck_when_its_loss_stays_that_of_equal_outputs(losses, rates, step):
    assert first_warning(records(losses), rates) == step


def test_long_runs_are_not_stuck_for_longer_than_5000_steps():
    assert first_warning(records(STUCK, every=100), np.full(10**5, 0.1)) == 5000


def test_rare_records_are_at_least_five():
    assert first_warning(records([4.85] * 9, every=90)) == 450


def test_a_single_batch_does_not_matter():
    noisy = np.array(STUCK) + 0.05 * np.random.default_rng(0).normal(size=len(STUCK))
    assert first_warning(records(noisy)) is not None
    falling = np.linspace(4.8, 4.0, 90) + 0.3 * np.random.default_rng(0).normal(size=90)
    assert first_warning(records(falling)) is None


def test_of_a_loss_whose_value_at_equal_outputs_says_nothing_uniformity_decides():
    own = [{"step": 10 * i, "loss": -0.9, "uniformity": -1e-4, "rank": 1.1} for i in range(1, 40)]
    assert first_warning(own) == 300
    assert "their uniformity was about -0.0001 (RankMe 1.10)" in collapse(own, RATES)
    spread = [record | {"uniformity": -0.5} for record in own]
    assert first_warning(spread) is None
    nothing_known = [{"step": record["step"], "loss": 4.85} for record in own]
    assert first_warning(nothing_known) is None


def test_two_classes_that_are_apart_are_on_one_line_and_not_at_one_point():
    apart = records([4.2] * 90, rank=1.0001, uniformity=np.log(0.5))
    assert first_warning(apart) is None


def test_the_sentence_says_what_was_found_and_what_to_try():
    assert collapse(records(STUCK), RATES) == (
        "The projections have collapsed to one point: from step 711 to 1010 the loss was about 4.850, that of equal "
        "outputs is 4.850 (RankMe 1.30). Try a smaller train.learning_rate, more train.warmup_epochs, or with the loss "
        "'tcl' a smaller loss.k1."
    )
    apart = collapse(records(STUCK, uniformity=-1.3), RATES)
    assert apart.startswith("The run does not learn: from step 711 to 1010 the loss was about 4.850, that of")
    assert "Try another train.learning_rate" in apart


class Log(list):
    """A log that keeps the records."""


def log_of(records, log, *, before=(), name=""):
    watch = Watch(log, before, RATES, name)
    for record in records:
        watch.append(record)
    return log


def test_it_is_said_once_and_not_again_after_the_run_was_continued(capsys):
    stuck = records(STUCK)
    validation = {"step": 300, "epoch": 1, "validation_knn": 0.5}
    whole = log_of([*stuck[:30], validation, *stuck[30:]], Log(), name="k1=5000")
    assert [record["step"] for record in whole if "warning" in record] == [300]
    assert whole[30] == validation
    sentence = next(record["warning"] for record in whole if "warning" in record)
    assert capsys.readouterr().out == f"k1=5000: {sentence}\n"
    for done in (0, 3, 29, 30, 31, 60):
        logged = whole[:done]
        steps_done = logged[-1]["step"] if logged else 0
        continued = log_of([r for r in stuck if r["step"] > steps_done], Log(logged), before=logged)
        assert [r["step"] for r in continued if r.get("warning") == sentence] == [300]


def test_a_run_that_learns_is_not_spoken_of(capsys):
    log = log_of(records(np.linspace(5.5, 2.6, 90)), Log())
    assert log == records(np.linspace(5.5, 2.6, 90))
    assert capsys.readouterr().out == ""
