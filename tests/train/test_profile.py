"""Which steps are traced, and that a trace is always ended."""

import jax
import jax.numpy as jnp
import pytest
from etils import epath

from tcl_jax.train.profile import Profile


@pytest.fixture
def tracer(monkeypatch):
    """Keeps the order of what JAX's profiler is asked, and refuses what it would."""
    calls = []

    def start(directory):
        assert calls.count("start") == calls.count("stop")
        calls.append("start")

    def stop():
        assert calls.count("start") == calls.count("stop") + 1
        calls.append("stop")

    monkeypatch.setattr(jax.profiler, "start_trace", start)
    monkeypatch.setattr(jax.profiler, "stop_trace", stop)
    return calls


def go(profile, steps, calls, error_before=None):
    """A loop over the numbers of `steps`; whether tracing began or ended with each."""
    found = []
    with profile:
        for number in steps:
            if number == error_before:
                raise KeyboardInterrupt
            began = profile.begin_step(number, first=number == steps[0])
            calls.append(number)
            found.append((began, profile.end_step({"loss": jnp.float32(0)})))
    return found


def test_as_many_steps_as_asked_after_the_first(tracer, capsys):
    found = go(Profile(epath.Path("/runs/a"), 3), range(10, 18), tracer)
    assert tracer == [10, "start", 11, 12, 13, "stop", 14, 15, 16, 17]
    assert found == [(False, False), (True, False), (False, False), (False, True), *[(False, False)] * 4]
    assert capsys.readouterr().out == (
        "The trace of 3 steps, up to step 14, is in /runs/a: open it with `xprof --port=8791 /runs/a` "
        "(pip install xprof).\n"
    )


def test_the_end_of_the_run_ends_the_trace(tracer, capsys):
    go(Profile(epath.Path("/runs/a"), 100), range(3), tracer)
    assert tracer == [0, "start", 1, 2, "stop"]
    assert "trace of 2 steps, up to step 3" in capsys.readouterr().out


def test_an_interruption_ends_the_trace(tracer, capsys):
    with pytest.raises(KeyboardInterrupt):
        go(Profile(epath.Path("/runs/a"), 100), range(9), tracer, error_before=2)
    assert tracer == [0, "start", 1, "stop"]
    assert "trace of 1 step, up to step 2" in capsys.readouterr().out


def test_where_no_step_is_left_nothing_is_traced(tracer, capsys):
    go(Profile(epath.Path("/runs/a"), 5), range(8, 9), tracer)
    assert tracer == [8]
    assert capsys.readouterr().out.startswith("Nothing was profiled: no step was left")


def test_nothing_is_traced_unasked(tracer, capsys):
    go(Profile(epath.Path("/runs/a"), 0), range(3), tracer)
    assert tracer == [0, 1, 2]
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_trace_is_written(tmp_path):
    profile = Profile(epath.Path(tmp_path / "profile"), 1)
    go(profile, range(3), [])
    (trace,) = (tmp_path / "profile").rglob("*.xplane.pb")
    assert trace.stat().st_size > 0
