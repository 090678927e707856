"""Stored predictions come back to their own parameters and images, and to no others."""

import io

import numpy as np
import pytest

from tcl_jax.run.predictions import pack, unpack

LABELS = np.array([2, 0, 1], np.int32)
PREDICTED = {"linear_probe": np.array([2, 0, 0], np.int32), "knn": np.array([2, 1, 1], np.int32)}


def test_they_come_back():
    data = pack(PREDICTED, LABELS, params_sha256="abc")
    found = unpack(data, labels=LABELS, params_sha256="abc")
    assert found.keys() == PREDICTED.keys()
    assert all((found[name] == PREDICTED[name]).all() and found[name].dtype == np.int32 for name in PREDICTED)
    assert pack(PREDICTED, LABELS, params_sha256="abc") == data


def test_others_are_distinguished():
    data = pack(PREDICTED, LABELS, params_sha256="abc")
    assert unpack(data, labels=LABELS, params_sha256="abd") is None
    assert unpack(data, labels=LABELS[::-1], params_sha256="abc") is None
    assert unpack(data, labels=LABELS[:2], params_sha256="abc") is None


def test_damaged_files_are_none():
    data = pack(PREDICTED, LABELS, params_sha256="abc")
    for damaged in (b"", b"text", data[:-40], data[:100], data[:200] + b"\xff" * 60 + data[260:]):
        assert unpack(damaged, labels=LABELS, params_sha256="abc") is None


@pytest.mark.parametrize("array", [np.array([{}], object), np.array([1])])
def test_foreign_files_are_none_and_run_nothing(array):
    file = io.BytesIO()
    np.savez(file, labels=array)
    assert unpack(file.getvalue(), labels=LABELS, params_sha256="abc") is None
