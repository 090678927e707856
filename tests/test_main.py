"""main.py as a user starts it: real command lines in processes of their own."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import tcl_jax
from tcl_jax.command_line.show_fields import format_fields
from tcl_jax.config import load
from tests.marks import slow

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
        "--config.loss.temperatur is not a field of the config: loss has temperature.",
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
    "format of an export without an export": (
        ["--config=configs/digits_tcl.py", "--format=stablehlo"],
        "--format=stablehlo is given with --mode=train, which has no use for it: use it with --mode=export.",
    ),
    "format that there is not": (
        ["--mode=export", "--format=pth"],
        "flag --format=pth: value should be one of <safetensors|stablehlo>.",
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
        "--config.train.epochs is given without a config: name an experiment, as in --config=digits_tcl.",
    ),
    "word that is not a flag": (
        ["--config=configs/digits_tcl.py", "train.epochs=3"],
        "'train.epochs=3' is not a flag; set config fields with --config.train.epochs=3.",
    ),
    "mode that is not a flag": (
        ["export", "--workdir=runs/a"],
        "'export' is not a flag: write --mode=export.",
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


@pytest.mark.slow
def test_a_run_of_a_version_with_fewer_fields_is_refused_with_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "old", "config": {"seed": 0}, "machine": {}}')
    ended = main("--mode=evaluate", f"--workdir={tmp_path}")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        f"error: The run in {tmp_path} was made by an older version, which did not know augment"
    )


@pytest.mark.parametrize("form", ["--config={}", *slow("--config {}")])
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


@pytest.mark.slow
def test_sigterm_outside_of_training_ends_with_one_sentence(tmp_path):
    script = (
        "import os, runpy, sys\n"
        "from tcl_jax.modes import preview\n"
        "preview.run = lambda *_: os.kill(os.getpid(), 15)\n"
        "sys.argv[0] = 'main.py'\n"
        "runpy.run_path('main.py', run_name='__main__')\n"
    )
    options = ["--config=configs/digits_tcl.py", "--mode=preview", f"--workdir={tmp_path}"]
    found = subprocess.run(
        [sys.executable, "-c", script, *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 143
    assert found.stderr == "Stopped by SIGTERM: repeat the command to continue from the last checkpoint.\n"


def without_home(*arguments, **environment):
    """As a container starts it: the user has neither HOME nor an entry in the list of users."""
    code = (
        "import pwd, runpy, sys\n"
        "def nobody(number):\n    raise KeyError(number)\n"
        f"pwd.getpwuid = nobody\nsys.argv = {['main.py', *map(str, arguments)]!r}\n"
        "runpy.run_path('main.py', run_name='__main__')\n"
    )
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", *CACHES)}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )


CACHES = ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
NOT_KEPT = "Compiled programs are not kept for the next start ({}): set {} to a folder that can be written."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "cause", "variable"),
    [
        ({}, "no home folder", "XDG_CACHE_HOME"),
        *slow(
            ({"HOME": "", "XDG_CACHE_HOME": "relative"}, "no home folder", "XDG_CACHE_HOME"),
            (
                {"HOME": "/", "JAX_COMPILATION_CACHE_DIR": "/dev/null/jax"},
                "/dev/null/jax: Not a directory",
                "JAX_COMPILATION_CACHE_DIR",
            ),
        ),
    ],
    ids=str,
)
def test_without_a_folder_for_caches_it_goes_on_without_one(environment, cause, variable, tmp_path):
    ended = without_home("--mode=export", f"--workdir={tmp_path}", **environment)
    assert ended.returncode == 2
    note, error = ended.stderr.splitlines()
    assert note == NOT_KEPT.format(cause, variable)
    assert error.startswith(f"error: The workdir {tmp_path}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "flags"),
    [
        ("The workdir", ["--config=configs/digits_tcl.py", "--workdir=~/run"]),
        (
            "model.init_from",
            ["--config=configs/digits_tcl.py", "--config.model.init_from=~/run", "--workdir={tmp}/run"],
        ),
    ],
)
def test_a_path_in_the_home_folder_of_a_user_without_one(field, flags, tmp_path):
    ended = without_home(*(flag.format(tmp=tmp_path) for flag in flags), XDG_CACHE_HOME=str(tmp_path))
    assert (
        ended.stderr
        == f"error: {field} is '~/run', a home folder that does not exist: give the whole path.\n"
    )
    assert ended.returncode == 2


@pytest.mark.slow
def test_output_that_nobody_reads_changes_nothing(tmp_path):
    """As in `python main.py ... | head -1`."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from configs import digits_tcl\n"
        "print('nobody reads this')\n"
        "def get_config():\n    return digits_tcl.get_config()\n"
    )
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "main.py", f"--config={file}", "--config.train.epochs=0"],
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert ended.stderr == "error: train.epochs is 0, expected 1 to 1000000.\n"
    assert ended.returncode == 2


@pytest.mark.slow
def test_a_path_that_the_terminal_cannot_show_is_printed(tmp_path):
    arguments = ["--config=configs/digits_tcl.py", f"--config.data.data_dir={tmp_path.parent / 'data'}"]
    ended = main(*arguments, "--mode=preview", f"--workdir={tmp_path / 'é'}", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("\\xe9/preview.png\n")


@pytest.mark.slow
def test_a_workdir_that_the_locale_cannot_name_is_refused_before_training(tmp_path):
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = main("--config=configs/digits_tcl.py", f"--workdir={tmp_path / 'é'}", **locale)
    assert ended.stderr.startswith(
        f"error: The workdir is '{tmp_path}/\\xe9', which is not UTF-8 by the locale"
    )
    assert ended.returncode == 2


SED = "--config.sed is not a field of the config: the config has seed."


def elsewhere(tmp_path, *words):
    """A command in an empty folder, to which PYTHONPATH gives the package."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", [["-m", "tcl_jax"], [ROOT / "main.py"]], ids=str)
def test_the_command_is_the_same_in_any_folder(words, tmp_path):
    ended = elsewhere(tmp_path, *words, "--config=digits_tcl", "--config.sed=1")
    assert (ended.returncode, ended.stderr) == (2, f"error: {SED}\n")
    ended = elsewhere(tmp_path, *words, "--config=configs/digits_tcl.py")
    assert ended.stderr == (
        f"error: The config file '{tmp_path}/configs/digits_tcl.py' does not exist: give digits_tcl or a Python file "
        "of your own.\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_config_imports_what_lies_in_the_current_folder(tmp_path):
    (tmp_path / "parts.py").write_text("from tcl_jax.config import defaults as get_config\n")
    (tmp_path / "mine.py").write_text("from parts import get_config\n")
    ended = elsewhere(tmp_path, ROOT / "main.py", "--config=mine.py", "--config.sed=1")
    assert ended.stderr == f"error: {SED}\n"


@pytest.mark.parametrize("package", ["absl", "ml_collections", *slow("sklearn")])
def test_a_missing_extra_is_one_sentence(package, tmp_path):
    code = f"import sys; sys.modules[{package!r}] = None; sys.argv = ['tcl-jax', '--config=digits_tcl'];"
    ended = elsewhere(tmp_path, "-c", f"{code} from tcl_jax.__main__ import main; main()")
    assert ended.returncode == 2
    assert ended.stderr == (
        f"error: The package '{package}' is not installed, which the command needs: pip install 'tcl_jax[train]'.\n"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("line", ["from tcl_jax import config", "from tcl_jax.config import load"])
def test_a_missing_extra_of_a_config_is_one_sentence(line, tmp_path):
    ended = elsewhere(tmp_path, "-c", f"import sys; sys.modules['ml_collections'] = None; {line}")
    sentence = "tcl_jax.config needs ml_collections, which is not installed: pip install 'tcl_jax[train]'."
    assert ended.stderr.splitlines()[-1] == f"ModuleNotFoundError: {sentence}"


@pytest.mark.parametrize(
    "flags", [["--help"], ["--config=configs/digits_tcl.py", "--helpshort"], ["--helpfull"]]
)
def test_help_is_a_success(flags):
    ended = main(*flags)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "--workdir" in ended.stdout or "--[no]" in ended.stdout


def test_the_version_is_printed():
    assert main("--version").stdout == f"tcl_jax {tcl_jax.__version__}\n"


def test_help_answers_at_once():
    """It waits for neither JAX nor Flax."""
    code = "import sys; sys.argv[1:] = ['--help']; from tcl_jax.__main__ import main; main(); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"jax", "flax", "orbax", "numpy"} & set(ended.stdout.splitlines()[-1].split())


def test_fields_are_those_of_a_run(tmp_path):
    config = load("digits_tcl")
    config.seed = 5
    stored = {"name": "digits_tcl", "config": json.loads(config.to_json()), "machine": {}}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    ended = main("--mode=fields", f"--workdir={tmp_path}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == format_fields(config) + "\n"
