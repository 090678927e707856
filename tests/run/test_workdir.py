"""A workdir belongs to one run."""

import errno
import fcntl
import json
import os

import pytest

from configs import digits_tcl
from tcl_jax.errors import UserError
from tcl_jax.fields import flat_items
from tcl_jax.run import environment as machine
from tcl_jax.run.workdir import ConfigFile, Workdir


def test_config_is_written_and_the_same_config_may_come_again(tmp_path):
    workdir, config = Workdir(str(tmp_path / "a" / "run")), digits_tcl.get_config()
    workdir.claim("digits_tcl", config)
    workdir.claim("digits_tcl", config)
    name, read = workdir.read_config()
    assert name == "digits_tcl"
    assert json.loads(read.to_json()) == json.loads(config.to_json())


def test_where_the_config_is_from_is_kept(tmp_path):
    workdir, config = Workdir(str(tmp_path)), digits_tcl.get_config()
    workdir.claim("digits_tcl", config)
    assert workdir.read_config_file() == ConfigFile()
    file = ConfigFile("configs/digits_tcl.py", {"seed": 0}, {"seed": 1})
    workdir.claim("digits_tcl", config, config_file=file)
    workdir.claim("digits_tcl", config)
    assert workdir.read_config_file() == file


def test_the_encoder_is_described_where_a_run_begins_and_stays_as_it_was_trained(tmp_path):
    workdir, config = Workdir(str(tmp_path)), digits_tcl.get_config()
    workdir.claim("digits_tcl", config)
    with pytest.raises(UserError, match=r"encoder\.json is missing or damaged"):
        workdir.read_description()
    for mean in ((0.1, 1 / 3), (0.2,)):  # the second start, still without a checkpoint, begins anew
        workdir.claim("digits_tcl", config, encoder={"mean": mean})
        assert workdir.read_description() == {"mean": list(mean)}
    (workdir.checkpoints / "5").mkdir(parents=True)
    workdir.claim("digits_tcl", config, encoder={"mean": (0.7,)})  # of other data, to evaluate on
    assert workdir.read_description() == {"mean": [0.2]}
    workdir.description.unlink()
    workdir.claim("digits_tcl", config, encoder={"mean": (0.7,)})
    assert workdir.read_description() == {"mean": [0.7]}


def test_a_field_that_an_older_version_did_not_know_had_its_default(tmp_path):
    workdir, config = Workdir(str(tmp_path)), digits_tcl.get_config()
    workdir.claim("digits_tcl", config)
    stored = json.loads(workdir.config.read_text())
    for group, field in (("loss", "queue_size"), ("augment", "views")):
        del stored["config"][group][field]
    workdir.config.write_text(json.dumps(stored))
    file = ConfigFile("configs/digits_tcl.py", {}, dict(flat_items(digits_tcl.get_config())))
    config.loss.queue_size = 128
    with pytest.raises(UserError, match=r"another config: loss\.queue_size \(0 there, 128 now\)"):
        workdir.claim("digits_tcl", config, config_file=file)
    config.loss.queue_size = 0
    workdir.claim("digits_tcl", config, config_file=file)
    assert workdir.read_config()[1].loss.queue_size == 0


@pytest.mark.parametrize("field", ["loss.k1", "train.epochs", "seed"])
def test_another_config_is_refused_naming_the_field(tmp_path, field):
    workdir, config = Workdir(str(tmp_path)), digits_tcl.get_config()
    workdir.claim("digits_tcl", config)
    before = workdir.config.read_text()
    with config.unlocked():
        config.update_from_flattened_dict({field: 77})
    with pytest.raises(
        UserError, match=rf"another config: {field} \(\S+ there, 77(\.0)? now\); give another"
    ):
        workdir.claim("digits_tcl", config)
    assert workdir.config.read_text() == before


def test_what_changes_no_figure_may_differ(tmp_path):
    workdir, config = Workdir(str(tmp_path)), digits_tcl.get_config()
    workdir.claim("digits_tcl", config)
    config.data.data_dir, config.log.every_steps, config.checkpoint.every_epochs = "elsewhere", 3, 2
    workdir.claim("digits_tcl", config)


def test_unwritable_workdir_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run cannot be written \(Not a directory\)"):
        Workdir(str(tmp_path / "file" / "run")).claim("digits_tcl", digits_tcl.get_config())


def test_another_machine_is_announced(tmp_path, capsys, monkeypatch):
    workdir, config = Workdir(str(tmp_path)), digits_tcl.get_config()
    workdir.claim("digits_tcl", config)
    workdir.claim("digits_tcl", config)
    assert capsys.readouterr().out == ""
    now = machine.describe()
    then = now | {"cores": 96, "versions": now["versions"] | {"jaxlib": "0.4.1"}}
    stored = json.loads(workdir.config.read_text())
    workdir.config.write_text(json.dumps(stored | {"machine": then}))
    workdir.claim("digits_tcl", config)
    said = capsys.readouterr().out
    assert f"jaxlib 0.4.1 -> {now['versions']['jaxlib']}" in said
    assert f"cores 96 -> {now['cores']}" in said
    assert "numpy" not in said
    workdir.claim("digits_tcl", config)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '{"name": "a", "config": {}}'])
def test_damaged_config_is_named(tmp_path, text):
    workdir = Workdir(str(tmp_path))
    workdir.config.write_text(text)
    with pytest.raises(UserError, match=r"config.json is damaged: delete it"):
        workdir.claim("digits_tcl", digits_tcl.get_config())


def test_damaged_results_are_as_good_as_none(tmp_path):
    workdir = Workdir(str(tmp_path))
    assert workdir.read_results() is None
    workdir.results.write_text('{"knn": ')
    assert workdir.read_results() is None


def test_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="does not hold a run"):
        Workdir(str(tmp_path)).read_config()


def test_a_file_system_without_locks_has_none(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Workdir(str(tmp_path)).locked(), Workdir(str(tmp_path)).locked():
        pass


def test_remote_storage_has_no_lock(monkeypatch):
    workdir = Workdir("/unused")
    workdir.path = "gs://bucket/run"
    with workdir.locked(), workdir.locked():
        pass
