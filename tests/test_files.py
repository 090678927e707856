"""Paths as people type them, and text that holds names of files."""

import errno
import os
import pathlib

import pytest
from etils import epath

from tcl_jax.data import dataset_facts, load_dataset
from tcl_jax.errors import UserError, WriteFailed
from tcl_jax.files import full_path, to_utf8, utf8_path, write_whole


@pytest.fixture
def at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "own"))
    return str(tmp_path)


@pytest.mark.quick
def test_a_path_is_absolute_and_remote_storage_stays_as_it_is(at):
    typed = ["a/../b", ".", "~/b", "~", "/b", "./~b", "gs://bucket/a/../b"]
    found = [os.fspath(full_path(path, "x")) for path in typed]
    assert found == [f"{at}/b", at, f"{at}/own/b", f"{at}/own", "/b", f"{at}/~b", "gs://bucket/a/../b"]
    assert [os.fspath(utf8_path(path, "x")) for path in typed] == found


@pytest.mark.parametrize("path", ["~nobody_has_this_name/a", "~nobody_has_this_name"])
def test_the_home_of_nobody_is_one_sentence(path):
    for function in (full_path, utf8_path):
        with pytest.raises(
            UserError, match=f"^--x is '{path}', a home folder that does not exist: give the "
        ):
            function(path, "--x")


def test_a_name_that_is_not_utf8_is_refused_where_it_would_be_another_to_libraries():
    path = os.fsdecode(b"/a/caf\xe9")
    assert os.fsencode(full_path(path, "x")) == b"/a/caf\xe9"
    with pytest.raises(
        UserError, match=r"^x is '/a/caf\\xe9', which is not UTF-8 by the locale .*: set LC_ALL="
    ):
        utf8_path(path, "x")


def test_a_text_with_such_a_name_is_written_as_utf8(tmp_path):
    text = os.fsdecode(b"caf\xe9") + "é日本😀"
    assert to_utf8(text).decode() == "caf\\xe9é日本😀"
    assert to_utf8("é日本😀".encode().decode("ascii", "surrogateescape")).decode() == "é日本😀"
    write_whole(epath.Path(tmp_path / "file"), text)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "caf\\xe9é日本😀"


@pytest.mark.parametrize("name", ["image_folder", "mnist"])
def test_data_that_are_not_there_are_named_by_the_path_that_was_searched(name, at):
    with pytest.raises(UserError, match=f"{pathlib.Path(at) / 'my/data'}"):
        load_dataset(name, data_dir="my/data")
    if name == "image_folder":
        with pytest.raises(UserError, match=f"{pathlib.Path(at) / 'my/data'}"):
            dataset_facts(name, data_dir="my/data")


@pytest.mark.parametrize(
    ("error", "cause", "disk_full"),
    [
        (OSError(errno.ENOSPC, "words of the library"), "No space left on device", True),
        (OSError(errno.EDQUOT, ""), os.strerror(errno.EDQUOT), True),
        (PermissionError(errno.EACCES, ""), "Permission denied", False),
        (
            ValueError("DATA_LOSS: Failed to write 9 bytes [os_error_code='28']"),
            "No space left on device",
            True,
        ),
        (ValueError("DATA_LOSS: of\nanother kind"), "ValueError: DATA_LOSS: of another kind", False),
    ],
)
def test_the_cause_of_a_failed_write_is_the_systems_word_for_it(error, cause, disk_full):
    failed = WriteFailed("The file", error)
    assert (failed.cause, failed.disk_full) == (cause, disk_full)
    assert ("free space" in str(failed)) == disk_full
