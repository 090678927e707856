import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

import pytest
import tensorflow_datasets as tfds

from tcl_jax.data import load_dataset
from tcl_jax.data.digits import Digits
from tcl_jax.errors import UserError
from tests.marks import slow

from .conftest import TinyImages, default_examples


class PreparableImages(TinyImages):
    """Registered with TFDS, so that it can be prepared by name."""

    name = "preparable_images"
    features = {  # noqa: RUF012
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
        "label": tfds.features.ClassLabel(num_classes=3),
    }

    @property
    def examples(self):
        return default_examples()


@pytest.fixture
def tensorflow_installed(monkeypatch):
    """As if TensorFlow were installed; the builders of these tests do without it."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "tensorflow" or find_spec(name))


@pytest.fixture
def no_tensorflow(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find_spec(name)
    )


def message_of(name, **options):
    with pytest.raises(UserError) as error:
        load_dataset(name, **options)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.usefixtures("tensorflow_installed")
def test_prepares_what_is_missing(tmp_path):
    dataset = load_dataset("preparable_images", data_dir=tmp_path)
    assert dataset.train.images.shape == (20, 6, 5, 3)
    assert dataset.class_names == ("0", "1", "2")
    assert list(tmp_path.glob("preparable_images/1.2.0/*.array_record*"))


@pytest.mark.usefixtures("no_tensorflow")
@pytest.mark.parametrize("name", ["cifar100", "preparable_images"])
def test_says_how_to_prepare_without_tensorflow(tmp_path, name):
    message = message_of(name, data_dir=tmp_path)
    assert f"'{name}' is not prepared in {tmp_path}:" in message
    assert "pip install tensorflow-cpu" in message
    assert "data.data_dir" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_tensorflow")
def test_names_the_folder_of_tfds_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "from_tfds"))
    assert f"is not prepared in {tmp_path / 'from_tfds'}:" in message_of("cifar100")
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert f"is not prepared in {tmp_path / 'home/tensorflow_datasets'}:" in message_of("cifar100")
    assert f"is not prepared in {tmp_path / 'home/mine'}:" in message_of("cifar100", data_dir="~/mine")


def test_without_a_home_folder(tmp_path, monkeypatch, capsys):
    """As in a container whose user has none; no folder of the name "~" is made."""
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("digits").train.labels) == 1437
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert f"data sets are looked for in {tmp_path}/temporary/tensorflow_datasets." in capsys.readouterr().err
    for folder in ("~/mine", "~nobody_at_all/mine"):
        assert f"'{folder}', a home folder that does not exist: give" in message_of("digits", data_dir=folder)
    assert capsys.readouterr().err == ""


def test_a_data_dir_that_is_not_utf8(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    assert f"data.data_dir is '{tmp_path}/caf\\xe9', which is not UTF-8" in message_of(
        "digits", data_dir=folder
    )


@pytest.mark.parametrize("name", ["a [2026] *{x}?", *slow("café", "100%")])
def test_a_data_dir_of_any_other_name(tmp_path, name):
    for _ in range(2):  # it is prepared, and opened again
        assert len(load_dataset("digits", data_dir=tmp_path / name).test.labels) == 360


@pytest.mark.usefixtures("tensorflow_installed")
@pytest.mark.parametrize(
    "cause", [ConnectionError("no route to\nwww.example.org"), AssertionError("by hand")]
)
def test_failed_preparation_gives_the_cause(tmp_path, monkeypatch, cause):
    def fail(self, **kwargs):
        raise cause

    monkeypatch.setattr(PreparableImages, "download_and_prepare", fail)
    message = message_of("preparable_images", data_dir=tmp_path)
    assert f"'preparable_images' in {tmp_path} failed ({type(cause).__name__}: " in message
    assert " ".join(str(cause).split()) in message
    with pytest.raises(UserError) as error:
        load_dataset("preparable_images", data_dir=tmp_path)
    assert error.value.__cause__ is cause


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    assert "'digits' in" in (message := message_of("digits", data_dir=tmp_path / "file/folder"))
    assert "NotADirectoryError" in message


def test_data_dir_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    expected = f"data.data_dir is '{tmp_path / 'file'}', which is a file, expected a folder"
    assert expected in message_of("cifar10", data_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("cifar1000", "cifar100"),
        ("digit", "digits"),
        ("tiny_image", "tiny_images"),
        ("qqqq", "digits, cifar10"),
    ],
)
def test_unknown_name_gives_the_nearest(write_images, name, nearest):
    folder = write_images()
    message = message_of(name, data_dir=folder)
    assert (
        f"data.name is '{name}', which is neither a data set of TFDS nor one prepared in {folder}" in message
    )
    assert nearest in message.split("give a name such as ")[1]


@pytest.mark.parametrize("name", ["", "a b", "huggingface:mnist/plain", "mnist/a=3", "../x"])
def test_names_that_are_none(tmp_path, name):
    assert f"data.name is '{name}', which is neither" in message_of(name, data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "cause"), [("cifar10:1.0.0", "only: 3.0.2"), ("cifar10/foo", "foo not found")]
)
def test_unknown_version_or_config(tmp_path, name, cause):
    message = message_of(name, data_dir=tmp_path)
    assert f"data.name is '{name}', which TFDS refuses" in message
    assert cause in message
    assert "*" not in message


@pytest.mark.usefixtures("no_tensorflow")
@pytest.mark.parametrize("data_set", ["cifar10", "tiny_images"])
@pytest.mark.parametrize("rest", [":9.9.9", ":3.0.2", ":abc", ":", "/nonsense", "/nonsense:1.2.0", ":1", "/"])
def test_what_is_prepared_is_named_where_something_else_is_asked_for(
    write_images, tmp_path_factory, data_set, rest
):
    """With code of TFDS for the data set, and without."""
    write_images(name=data_set, version="1.10.0")
    folder = write_images(name=data_set)
    if rest == ":9.9.9":  # no path is a pattern
        folder = shutil.copytree(folder, tmp_path_factory.mktemp("data [2026]") / "tfds")
    assert message_of(f"{data_set}{rest}", data_dir=folder) == (
        f"data.name is '{data_set}{rest}', which is not prepared in {folder}, expected one of {data_set}:1.10.0, "
        f"{data_set}:1.2.0."
    )


def test_incomplete_folder(tmp_path):
    (tmp_path / "digits/1.0.0").mkdir(parents=True)
    message = message_of("digits", data_dir=tmp_path)
    assert f"{tmp_path / 'digits/1.0.0'} holds no complete data set: delete it" in message


def test_another_process_may_prepare_at_the_same_time(tmp_path, monkeypatch):
    """The other one finishes while this one is still writing: moving the folder into place then fails."""
    split_generators = Digits._split_generators
    others = []

    def prepared_meanwhile(self, dl_manager):
        if not others:
            others.append("the other process")
            Digits(data_dir=tmp_path, file_format="array_record").download_and_prepare()
        return split_generators(self, dl_manager)

    monkeypatch.setattr(Digits, "_split_generators", prepared_meanwhile)
    assert load_dataset("digits", data_dir=tmp_path).train.images.shape == (1437, 8, 8, 1)
    assert others
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def test_preparation_that_fails_at_the_end(tmp_path, monkeypatch):
    """By then TFDS has filled in the splits, as if they had been read."""

    def fail(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tfds.core.DatasetInfo, "write_to_directory", fail)
    assert "No space left on device" in message_of("digits", data_dir=tmp_path)


def test_importing_the_package_does_not_import_tfds():
    """TFDS takes half a second, and whoever only makes batches of own arrays needs none of it."""
    code = "import sys, tcl_jax.data; sys.exit('tensorflow_datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
