"""Faults from outside: a full disk, a folder that is gone or cannot be written, a signal."""

import errno
import io
import os
import re
import resource
import shutil
import signal
import subprocess
import sys

import pytest

from configs import digits_tcl
from tcl_jax.data import load_dataset
from tcl_jax.errors import Interrupted, RunFailed, UserError
from tcl_jax.experiment import results
from tcl_jax.modes import evaluate, report, sweep, train
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.workdir import Workdir
from tcl_jax.train import loop
from tcl_jax.train.sweep_step import OneByOne
from tests.modes.tiny import assert_same_end, faults_config

# In one process, so that two do not both train the undisturbed run.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("faults"),
    pytest.mark.usefixtures("on_one_device", "without_pages", "without_evaluation"),
]

FULL = "/dev/full"  # every write to it fails, as on a full disk


@pytest.fixture(scope="module")
def config(data_dir):
    return faults_config(data_dir)


def run_with(config, workdir, at_step, fault, wait=True):
    """A run in which `fault`, given the log, happens before a step, counted from 1, with no checkpoint half written."""

    def faulty(step, states, position, *, members, **options):
        (member,) = members

        class Faulty(OneByOne):
            def __call__(self, states, *arguments):
                if int(states[0].step) + 1 == at_step:
                    if wait:
                        member.checkpoints.finish()
                    fault(member.log)
                return step(states, *arguments)

        return loop.train(Faulty(None), states, position, members=members, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train", faulty)
        train.run(config, workdir, "digits_tcl")


@pytest.fixture
def limited():
    """Limits the size of files, which fails the writers of checkpoints in their own threads, and no others here."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def free_space():
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def assert_continues(config, workdir, undisturbed, capsys, after):
    capsys.readouterr()
    train.run(config, workdir, "digits_tcl")
    assert f"Continuing after step {after}," in capsys.readouterr().out
    assert_same_end(workdir, undisturbed)


@pytest.mark.parametrize(
    ("at_step", "failed", "good"),
    [(8, 12, "the last good checkpoint is that of step 6"), (2, 6, "there is no checkpoint yet")],
)
def test_a_full_disk_fails_a_checkpoint_and_the_run_goes_on_from_the_one_before(
    config, undisturbed, tmp_path, capsys, limited, at_step, failed, good
):
    workdir = Workdir(str(tmp_path / "run"))
    sentence = (
        f"The checkpoint of step {failed} cannot be written (File too large); {good}: "
        "free space and repeat the command to continue."
    )
    with pytest.raises(RunFailed) as raised:
        run_with(config, workdir, at_step, lambda _: limited())
    assert str(raised.value) == sentence
    free_space()
    whole = [str(step) for step in (6, 12) if step < failed]
    # What there was of the other gave its space back.
    assert [path.name for path in workdir.checkpoints.iterdir()] == whole
    if whole:
        assert_continues(config, workdir, undisturbed, capsys, after=6)
    else:
        train.run(config, workdir, "digits_tcl")
        assert_same_end(workdir, undisturbed)


def test_the_last_checkpoint_of_a_run_cannot_fail_unnoticed(config, undisturbed, tmp_path, capsys, limited):
    workdir = Workdir(str(tmp_path / "run"))
    with pytest.raises(RunFailed, match=r"checkpoint of step 18 .* good checkpoint is that of step 12: free"):
        run_with(config, workdir, 18, lambda _: limited())
    assert workdir.read_results() is None
    free_space()
    assert_continues(config, workdir, undisturbed, capsys, after=12)


def test_an_interruption_whose_state_cannot_be_saved_does_not_say_that_it_is(config, tmp_path, limited):
    def signal_on_full_disk(_):
        limited()
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunFailed, match="The checkpoint of step 8 cannot be written") as raised:
        run_with(config, Workdir(str(tmp_path / "run")), 8, signal_on_full_disk)
    assert not isinstance(raised.value, Interrupted)


@pytest.fixture
def unheard():
    """A signal that nobody answers fails the test, and does not end all of them."""

    def fail(number, _):
        raise AssertionError(f"nobody answered signal {number}")

    before = {number: signal.signal(number, fail) for number in (signal.SIGTERM, signal.SIGINT)}
    yield fail
    for number, handler in before.items():
        signal.signal(number, handler)


def stop_by(number):
    """Stands for an evaluation in the middle of which a signal comes."""

    def stopped(*_):
        os.kill(os.getpid(), number)
        raise AssertionError("the signal was not heard")

    return stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("mode", ["train", "evaluate", "report", "sweep"])
def test_a_signal_during_the_evaluation_says_that_the_training_is_saved(
    config, undisturbed, tmp_path, monkeypatch, unheard, mode, number
):
    workdir = Workdir(str(tmp_path / "seed=0"))  # the name that it has in a sweep
    shutil.copytree(undisturbed.path, workdir.path)
    workdir.results.unlink()
    runs = {
        "train": lambda: train.run(config, workdir, "digits_tcl"),
        "evaluate": lambda: evaluate.run(config, workdir, "digits_tcl"),
        "report": lambda: report.run(config, workdir, "digits_tcl"),
        "sweep": lambda: sweep.run(config, Workdir(str(tmp_path)), "digits_tcl", ["seed=0"]),
    }
    with monkeypatch.context() as patch:
        patch.setattr(results, "evaluate", stop_by(number))
        with pytest.raises(Interrupted) as raised:
            runs[mode]()
    assert raised.value.signal == number  # main.py ends with 128 + its number
    assert str(raised.value) == (
        f"Stopped by {number.name} during the evaluation; the training is saved, up to step 18: repeat the command to "
        "evaluate it."
    )
    assert signal.getsignal(number) == unheard
    assert workdir.read_results() is None
    runs[mode]()
    assert_same_end(workdir, undisturbed)


def test_a_last_checkpoint_that_fails_during_an_interrupted_evaluation_is_not_called_saved(
    config, tmp_path, limited, unheard, monkeypatch
):
    monkeypatch.setattr(results, "evaluate", stop_by(signal.SIGTERM))
    with pytest.raises(RunFailed, match="The checkpoint of step 18 cannot be written"):
        run_with(config, Workdir(str(tmp_path / "run")), 18, lambda _: limited())


def test_a_checkpoint_that_fails_does_not_hide_the_error_that_came_first(config, tmp_path, limited, capsys):
    class Earlier(Exception):
        pass

    def fail(_):
        raise Earlier

    workdir = Workdir(str(tmp_path / "run"))
    with pytest.MonkeyPatch.context() as patch:
        save = Checkpoints.save

        def save_on_full_disk(*arguments):
            limited()
            save(*arguments)

        patch.setattr(Checkpoints, "save", save_on_full_disk)
        with pytest.raises(Earlier):
            run_with(config, workdir, 7, fail, wait=False)
    assert "The checkpoint of step 6 cannot be written" in capsys.readouterr().err


def fill_metrics(workdir):
    def fault(_):
        workdir.metrics.rename(workdir.path / "kept")
        os.symlink(FULL, workdir.metrics)

    def remedy():
        workdir.metrics.unlink()
        # A part of a record is there, as far as there was space.
        (workdir.path / "kept").replace(workdir.metrics)
        with workdir.metrics.open("a") as file:
            file.write('{"step": 8, "lo')

    return fault, remedy


def fill_events(workdir):
    def fault(log):
        full = os.open(FULL, os.O_WRONLY)
        os.dup2(full, log._sinks[0][0]._writer._writer.fileno())
        os.close(full)

    return fault, lambda: None


def fill_results(workdir):
    # The new content's file; it is removed with the failure.
    return lambda _: os.symlink(FULL, workdir.path / "results.json.partial"), lambda: None


@pytest.mark.parametrize(
    ("fill", "file", "good"),
    [
        (fill_metrics, "metrics.jsonl", 6),
        (fill_events, r"tensorboard/events\.\S+", 6),
        (fill_results, "results.json", 18),
    ],
)
def test_a_full_disk_is_named_with_the_file_that_it_could_not_take(
    config, undisturbed, tmp_path, capsys, fill, file, good
):
    workdir = Workdir(str(tmp_path / "run"))
    fault, remedy = fill(workdir)
    sentence = (
        rf"{re.escape(str(workdir.path))}/{file} cannot be written \(No space left on device\); the last good "
        rf"checkpoint is that of step {good}: free space and repeat the command to continue\.$"
    )
    with pytest.raises(RunFailed, match=sentence):
        run_with(config, workdir, 9, fault)
    assert workdir.read_results() is None
    remedy()
    assert_continues(config, workdir, undisturbed, capsys, after=good)


def test_a_disk_that_is_full_at_the_start_is_not_a_mistake_of_the_user(config, undisturbed, tmp_path):
    workdir = Workdir(str(tmp_path / "run"))
    workdir.path.mkdir()
    os.symlink(FULL, workdir.path / "config.json.partial")
    with pytest.raises(RunFailed, match=r"config.json cannot .*No space.*; there is no checkpoint yet: free"):
        train.run(config, workdir, "digits_tcl")
    train.run(config, workdir, "digits_tcl")
    assert_same_end(workdir, undisturbed)


def test_output_to_a_full_disk_ends_the_run_with_a_sentence(config, tmp_path, monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(
        RunFailed, match=r"^The output of the run cannot be written \(No space left .* yet: free"
    ):
        train.run(config, Workdir(str(tmp_path / "run")), "digits_tcl")


@pytest.mark.parametrize("at_step", [1, 8, 18])
def test_a_workdir_that_is_removed_during_the_run_is_named_and_not_made_anew(config, tmp_path, at_step):
    workdir = Workdir(str(tmp_path / "run"))
    with pytest.raises(
        RunFailed, match=r"The workdir .*/run is gone, removed or unmounted during the run: bring"
    ):
        run_with(config, workdir, at_step, lambda _: shutil.rmtree(workdir.path))
    assert not workdir.path.exists()


def test_checkpoints_that_are_removed_during_the_run_are_not_made_anew(config, tmp_path):
    workdir = Workdir(str(tmp_path / "run"))
    with pytest.raises(
        RunFailed, match=r"step 12 cannot be written \(No such file .*; there is no checkpoint yet"
    ):
        run_with(config, workdir, 8, lambda _: shutil.rmtree(workdir.checkpoints))
    assert not workdir.checkpoints.exists()


def test_a_workdir_that_cannot_be_written_is_refused_at_the_start(config):
    # Not even root makes a folder in /proc.
    with pytest.raises(UserError, match=r"The workdir /proc/run cannot be written \(.+\): give another"):
        train.run(config, Workdir("/proc/run"), "digits_tcl")


def test_a_read_only_file_system_is_refused_at_the_start(config, undisturbed, monkeypatch):
    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\): give another"):
        evaluate.run(config, undisturbed, "digits_tcl")


def start_main(workdir, data_dir, file_size=None):
    """main.py as a user starts it, with 20 steps of a narrow ResNet-18; and a limit on the size of its files."""

    def limit():
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    root = os.path.dirname(os.path.dirname(digits_tcl.__file__))
    fields = {
        "data.data_dir": data_dir,
        "data.train_split": "train[:200]",
        "model.width": 4,
        "train.batch_size": 32,
        "train.epochs": 4,
        "train.warmup_epochs": 0,
        "validation.images": 40,
        "probe.epochs": 1,
        "probe.batch_size": 32,
        "checkpoint.every_epochs": 1,
    }
    options = [f"--config.{name}={value}" for name, value in fields.items()]
    return subprocess.Popen(
        [sys.executable, "main.py", f"--config={digits_tcl.__file__}", f"--workdir={workdir}", *options],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


@pytest.mark.slow
def test_main_reports_each_fault_in_one_sentence_and_never_with_a_traceback(tmp_path):
    def run(file_size=None):
        process = start_main(workdir.path, tmp_path / "data", file_size)
        stdout, stderr = process.communicate()
        assert "Traceback" not in stderr
        errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == (process.returncode != 0), stderr
        return process.returncode, stdout, "".join(errors)

    workdir = Workdir(str(tmp_path / "run"))
    # The data are prepared, so that the checkpoint is the first file that is too large.
    load_dataset("digits", data_dir=str(tmp_path / "data"), train_split="train", test_split="test")
    code, _, last = run(file_size=60_000)
    assert code == 1
    assert last == (
        "error: The checkpoint of step 5 cannot be written (File too large); there is no checkpoint yet: "
        "free space and repeat the command to continue."
    )
    with workdir.locked():
        code, _, last = run()
    assert code == 2
    assert re.search(
        rf"^error: The workdir .* is in use by process {os.getpid()} on .*: wait until it ends", last
    )
    code, _, last = run()
    assert code == 0, last
    results = workdir.read_results()
    workdir.results.unlink()
    for path in (workdir.checkpoints / "20" / "model" / "d").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    code, stdout, _ = run()
    assert code == 0
    assert re.search(
        r"The checkpoint of step 20 is damaged .* that of step 15\.\n.*\nContinuing after step 15,", stdout
    )
    assert workdir.read_results()["params_sha256"] == results["params_sha256"]
