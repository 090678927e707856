"""The log on disk survives interruptions, and goes where else it is asked for."""

import contextlib
import sys

import pytest
from etils import epath

from tcl_jax.errors import UserError
from tcl_jax.run.metrics_log import SINKS, MetricsLog, read_metrics, resolve_sinks


@pytest.fixture
def path(tmp_path):
    return epath.Path(tmp_path / "metrics.jsonl")


@pytest.fixture
def start(path):
    """Starts a log after a step."""
    with contextlib.ExitStack() as stack:
        yield lambda after_step: stack.enter_context(MetricsLog(path, after_step=after_step, sinks=SINKS))


def test_records_come_back_in_order(path, start):
    log = start(0)
    records = [{"step": step, "loss": 0.1 * step} for step in (10, 20, 30)]
    for record in records:
        log.append(record)
    assert read_metrics(path) == records


def test_steps_that_will_be_done_again_are_removed_and_nothing_comes_twice(path, start):
    log = start(0)
    for step in (10, 20, 30):
        log.append({"step": step, "loss": 1.0})
    resumed = start(20)
    resumed.append({"step": 30, "loss": 2.0})
    assert [(r["step"], r["loss"]) for r in read_metrics(path)] == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_a_line_cut_short_by_a_kill_is_left_out(path, start):
    path.write_text('{"step": 10}\n{"step": 20}\n{"st')
    assert [r["step"] for r in read_metrics(path)] == [10, 20]
    start(20).append({"step": 30})
    assert [r["step"] for r in read_metrics(path)] == [10, 20, 30]


OWN = """
class Log:
    def __init__(self, **given):
        self.given, self.records, self.closed = given, [], False

    def append(self, record):
        self.records.append(record)

    def close(self):
        self.closed = True


made = []


def make(workdir, after_step, name):
    made.append(Log(workdir=workdir, after_step=after_step, name=name))
    return made[-1]


def once(workdir):
    return make(workdir, 0, "")


def nothing(workdir):
    return None


def greedy(workdir, colour):
    return None
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_log.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda: sys.modules["own_log"]
    sys.modules.pop("own_log", None)


def test_a_log_of_the_users_own_gets_every_record(path, own):
    sinks = resolve_sinks(["tensorboard", "own_log:make"])
    with MetricsLog(path, after_step=20, sinks=sinks, name="digits") as log:
        log.append({"step": 30, "loss": 1.0})
        (made,) = own().made
        assert not made.closed
    assert made.given == {"workdir": path.parent, "after_step": 20, "name": "digits"}
    assert (made.records, made.closed) == ([{"step": 30, "loss": 1.0}], True)
    assert read_metrics(path) == made.records


def test_a_log_that_cannot_go_back_gets_each_record_once(path, own):
    """A record of training and one of held-out images may be of one step."""
    sinks = resolve_sinks(["own_log:make", "own_log:once"])
    records = [{"step": 10, "loss": 1.0}, {"step": 20, "loss": 0.9}, {"step": 20, "validation_knn": 0.5}]
    later = [{"step": 30, "loss": 0.8}]
    with MetricsLog(path, after_step=0, sinks=sinks) as log:
        for record in records:
            log.append(record)
    with MetricsLog(path, after_step=10, sinks=sinks) as log:
        for record in [*records[1:], *later]:
            log.append(record)
    back, once = own().made[0::2], own().made[1::2]
    assert [log.records for log in back] == [records, [*records[1:], *later]]
    assert [log.records for log in once] == [records, later]
    assert read_metrics(path) == [*records, *later]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wandb", r"log.to is 'wandb', expected one of tensorboard, or 'module:attribute'"),
        ("own_log:greedy", r"log.to names a function that needs 'colour', expected .* workdir, after_step"),
    ],
)
def test_a_log_that_cannot_be_is_named(own, name, message):
    with pytest.raises(UserError, match=message):
        resolve_sinks([name])


def test_what_is_not_a_log_is_named(path, own):
    with pytest.raises(UserError, match=r"'own_log:nothing' of log.to makes a NoneType, expected an object"):
        MetricsLog(path, after_step=0, sinks=resolve_sinks(["own_log:nothing"]))
