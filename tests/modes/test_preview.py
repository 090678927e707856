"""The picture shows training images and the very views that training draws of them, and is all that is written."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from configs import digits_tcl
from tcl_jax.augment import make_policy
from tcl_jax.data import train_batches
from tcl_jax.errors import UserError
from tcl_jax.experiment.build import build_experiment
from tcl_jax.modes import preview
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.state import VIEWS_STREAM, stream_key

ROOT = pathlib.Path(__file__).parents[2]
VIEWS = ("crop_flip", "simaug", "none")


@pytest.fixture
def config(tmp_path_factory):
    config = digits_tcl.get_config()
    config.data.data_dir = str(tmp_path_factory.getbasetemp() / "data")
    config.seed = 3
    config.augment.views = VIEWS
    config.augment.crop_padding = 2
    config.augment.flip = True
    return config


@pytest.fixture
def shown(monkeypatch):
    """What the contact sheet was made of: title, columns, names of the rows."""
    calls, function = [], preview.contact_sheet

    def recorded(*arguments):
        calls.append(arguments)
        return function(*arguments)

    monkeypatch.setattr(preview, "contact_sheet", recorded)
    return calls


@pytest.mark.slow
def test_picture_shows_the_views_of_the_first_epochs(config, shown, tmp_path, capsys):
    workdir = Workdir(str(tmp_path / "run"))
    preview.run(config, workdir, "digits_tcl")
    ((title, columns, names),) = shown
    assert title == "digits_tcl: digits, 8x8x1, seed 3"
    experiment = build_experiment(config)
    split = experiment.dataset.train

    # The rows: the first of each digit, in the order in which the first epoch takes them.
    batch = next(train_batches(split, 256, seed=3, epoch=0, examples=experiment.settings.split.train))
    first = [int(np.flatnonzero(batch.labels == digit)[0]) for digit in range(10)]
    expected = sorted(first)
    np.testing.assert_array_equal(columns[0].images, batch.images[expected])
    assert names == [str(digit) for digit in batch.labels[expected]]

    # The columns: each policy by its own keys, one image at a time.
    heads = [("original", "")]
    heads += [(f"view {v + 1}: {name}", f"epoch {e + 1}") for v, name in enumerate(VIEWS) for e in range(4)]
    assert [(column.group, column.name) for column in columns] == heads
    stream = stream_key(np.uint32(3), VIEWS_STREAM)
    for number, column in enumerate(columns[1:]):
        view, epoch = divmod(number, 4)
        policy = jax.jit(make_policy(VIEWS[view], crop_padding=2, flip=True))
        of_epoch = jax.random.fold_in(stream, epoch)
        for image, shown_view, index in zip(
            columns[0].images, column.images, batch.indices[expected], strict=True
        ):
            key = jax.random.fold_in(jax.random.fold_in(of_epoch, index), view)
            np.testing.assert_array_equal(shown_view, policy(key, image))
    assert any((column.images != columns[0].images).any() for column in columns)

    path = tmp_path / "run/preview.png"
    assert capsys.readouterr().out == f"10 training images of digits and their views are in {path}\n"
    assert list((tmp_path / "run").iterdir()) == [path]
    with Image.open(path) as picture:
        assert picture.width > 13 * 96
        assert picture.height > 10 * 96


def test_a_run_in_the_workdir_stays_as_it_is(config, tmp_path):
    """Even one with another config; an older picture is replaced."""
    old = {"config.json": b"{}", "results.json": b"damaged", "preview.png": b"old"}
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)
    preview.run(config, Workdir(str(tmp_path)), "digits_tcl")
    now = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert now.keys() == old.keys()
    assert now.pop("preview.png").startswith(b"\x89PNG")
    assert now == {name: old[name] for name in now}


@pytest.mark.slow
def test_by_main_for_the_run_of_a_workdir(config, tmp_path):
    Workdir(str(tmp_path)).claim("digits_tcl", config)
    before = (tmp_path / "config.json").read_bytes()
    ended = subprocess.run(
        [sys.executable, "main.py", "--mode=preview", f"--workdir={tmp_path}"],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith(f"are in {tmp_path / 'preview.png'}\n")
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "preview.png"}
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_mistake_writes_nothing(config, tmp_path):
    config.augment.crop_padding = -1
    with pytest.raises(UserError, match="crop_padding is -1"):
        preview.run(config, Workdir(str(tmp_path / "run")), "digits_tcl")
    assert not (tmp_path / "run").exists()


def test_workdir_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"The picture .*file/run/preview\.png cannot be written \(Not a dir"):
        preview.run(config, Workdir(str(tmp_path / "file/run")), "digits_tcl")
