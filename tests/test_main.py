"""main.py as a user starts it: real command lines in processes of their own."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def main(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "main.py", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


MISTAKES = {
    "mistyped field": (
        ["--config=configs/digits_tcl.py", "--config.loss.temperatur=0.2"],
        "There is no config field 'loss.temperatur': loss has temperature.",
    ),
    "data set not prepared": (
        ["--config=configs/cifar100_tcl.py", "--config.data.data_dir={tmp}/data"],
        "The data set 'cifar100' is not prepared in {tmp}/data: install TensorFlow",
    ),
    "negative number of steps": (
        ["--config=configs/digits_tcl.py", "--profile_steps=-1"],
        "--profile_steps is -1, expected a number of steps, 0 or more.",
    ),
    "profile without training": (
        ["--config=configs/digits_tcl.py", "--mode=evaluate", "--profile_steps=3"],
        "--profile_steps=3 is given with --mode=evaluate, which has no use for it: use it with --mode=train.",
    ),
    "best checkpoint of a run that is trained": (
        ["--config=configs/digits_tcl.py", "--checkpoint=best"],
        "--checkpoint=best is given with --mode=train, which has no use for it: use it with --mode=evaluate or export.",
    ),
    "share of the peak without a plan": (
        ["--config=configs/digits_tcl.py", "--plan_peak_share=0.5"],
        "--plan_peak_share=0.5 is given with --mode=train, which has no use for it: use it with --mode=plan.",
    ),
    "processes in a mode of one": (
        ["--mode=compare", "--workdirs=a", "--num_processes=2"],
        "--num_processes=2 is given with --mode=compare, which has no use for it: use it with --mode=train or",
    ),
    "field without a config": (
        ["--config.train.epochs=3"],
        "--config.train.epochs is given without a config: name an experiment, as in --config=configs/digits_tcl.py.",
    ),
    "word that is not a flag": (
        ["--config=configs/digits_tcl.py", "train.epochs=3"],
        "'train.epochs=3' is not a flag; set config fields with --config.train.epochs=3.",
    ),
    "batch that eight devices do not divide": (
        ["--config=configs/digits_tcl.py", "--config.train.batch_size=100"],
        "train.batch_size is 100, which the 8 devices do not divide into equal parts: use 96,",
    ),
}


@pytest.mark.quick
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_one_sentence_and_code_2_and_writes_nothing(mistake, tmp_path):
    arguments, sentence = MISTAKES[mistake]
    workdir = tmp_path / "run"
    ended = main(*(a.format(tmp=tmp_path) for a in arguments), f"--workdir={workdir}")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: " + sentence.format(tmp=tmp_path))
    assert ended.stdout == ""
    assert not workdir.exists()


def test_a_run_of_a_version_with_fewer_fields_is_refused_with_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "old", "config": {"seed": 0}, "machine": {}}')
    ended = main("--mode=evaluate", f"--workdir={tmp_path}")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        f"error: The run in {tmp_path} was made by an older version, which did not know augment"
    )


@pytest.mark.parametrize("form", ["--config={}", "--config {}"])
def test_the_config_file_is_executed_once(tmp_path, form):
    file, log = tmp_path / "mine.py", tmp_path / "log"
    file.write_text(
        "from configs import digits_tcl\n"
        f"with open({str(log)!r}, 'a') as log:\n    log.write('executed\\n')\n"
        "def get_config():\n"
        f"    with open({str(log)!r}, 'a') as log:\n        log.write('called\\n')\n"
        "    return digits_tcl.get_config()\n"
    )
    ended = main(*form.format(file).split(), "--config.train.epochs=0", f"--workdir={tmp_path / 'run'}")
    assert ended.stderr == "error: train.epochs is 0, expected 1 to 1000000.\n"
    assert log.read_text() == "executed\ncalled\n"
