"""The command that makes a run again is read by the shell and by main.py as it is meant."""

import shlex

import pytest
from absl import flags
from ml_collections import config_flags

from configs import digits_tcl, smoke
from tcl_jax.config import defaults
from tcl_jax.fields import flat_items
from tcl_jax.report.page_settings import command, settings
from tests.report.pages import EVIL, Page, section_page

RESULTS = {
    "devices": {"platform": "cpu", "kind": EVIL, "count": 8},
    "versions": {"jax": "0.10.2"},
    "params_sha256": "ab" * 32,
}


def fields_of(config):
    return dict(flat_items(config))


def parsed(words, monkeypatch):
    """What main.py's flags make of the words of a command."""
    monkeypatch.setattr("sys.argv", words)  # where ml_collections looks for the fields
    holder = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, flag_values=holder, lock_config=True)
    flags.DEFINE_string("workdir", None, "", flag_values=holder)
    holder(words)
    return holder


@pytest.mark.parametrize("program", ["python main.py", "tcl-jax", "python '../my code/main.py'"])
@pytest.mark.parametrize(
    ("file", "base"),
    [
        ("configs/digits_tcl.py", digits_tcl.get_config()),
        ("configs/smoke.py:cifar100_tcl", smoke.get_config("cifar100_tcl")),
    ],
)
def test_the_command_gives_the_config_and_the_folder_of_the_run(program, file, base, monkeypatch):
    config = digits_tcl.get_config()
    config.seed = 7
    config.data.data_dir = '/my data/it\'s "quoted" $HOME `x`'
    config.augment.views = ("simaug", "none", "randaug(2,9)")
    config.augment.flip = True
    config.train.learning_rate = 1.0
    config.train.ema_decay = 0.5
    text = command(program, file, fields_of(base), fields_of(config), "runs/a 'b'")
    words = shlex.split(text.replace("\\\n", " "))
    started = shlex.split(program)
    assert words[: len(started)] == started
    found = parsed(words[len(started) - 1 :], monkeypatch)
    assert found.workdir == "runs/a 'b'"
    assert fields_of(found.config) == fields_of(config)


def test_the_command_names_no_more_than_what_differs():
    fields = fields_of(digits_tcl.get_config())
    assert command("tcl-jax", "digits_tcl", fields, fields, "runs/digits_tcl") == (
        "tcl-jax --config=digits_tcl --workdir=runs/digits_tcl"
    )


def test_fields_that_differ_from_their_defaults_come_first_and_all_are_there():
    config, by_default = fields_of(digits_tcl.get_config()), fields_of(defaults())
    config["data.data_dir"] = EVIL
    page = Page(section_page("run/settings", settings(config, by_default, RESULTS, "the command")))
    first, whole = page.text.split(f"All {len(config)} fields")
    for name, value in config.items():
        assert (name in first) == (value != by_default[name]), name
        assert name in whole
    assert repr(EVIL) in first
    assert "the command" in first
    assert EVIL in whole  # the kind of the devices
    assert not page.scripts
    assert "Training began with" not in page.text


def test_the_encoder_that_training_began_with_is_named():
    begun = RESULTS | {"init_from": {"path": EVIL, "params_sha256": "cd" * 32}}
    page = Page(section_page("run/settings", settings({}, {}, begun, "the command")))
    assert EVIL in page.text
    assert "cd" * 32 in page.text
