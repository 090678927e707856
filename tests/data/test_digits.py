import hashlib

import numpy as np
import pytest
import sklearn.datasets

from tcl_jax.data import load_dataset
from tcl_jax.data.digits import held_out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset("digits", data_dir=folder)


def rows(images):
    return {image.tobytes() for image in images}


@pytest.mark.quick
def test_sizes_and_classes(dataset):
    assert dataset.train.images.shape == (1437, 8, 8, 1)
    assert dataset.test.images.shape == (360, 8, 8, 1)
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [36] * 10)
    assert dataset.class_names == tuple("0123456789")


def test_every_image_is_there_once_with_its_label(dataset):
    """The two splits together are scikit-learn's images, scaled from 0..16 to 0..255."""
    digits = sklearn.datasets.load_digits()
    images = np.concatenate([dataset.train.images, dataset.test.images]).reshape(1797, 64)
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    grey_levels = np.rint(images * (16 / 255)).astype(int)
    np.testing.assert_array_equal(images, np.rint(grey_levels * (255 / 16)))
    found = {(*row, label) for row, label in zip(grey_levels.tolist(), labels.tolist(), strict=True)}
    expected = {
        (*row, t) for row, t in zip(digits.data.astype(int).tolist(), digits.target.tolist(), strict=True)
    }
    assert found == expected
    assert len(expected) == 1797


def test_no_image_is_in_both_splits(dataset):
    assert not rows(dataset.train.images) & rows(dataset.test.images)


@pytest.mark.quick
def test_splits_and_their_order_are_frozen(dataset):
    """A changed split or order would change every published result: these sums must never be edited."""
    sums = [
        hashlib.sha256(split.images.tobytes()).hexdigest()[:16] for split in (dataset.train, dataset.test)
    ]
    assert sums == ["c4290d03a96d2035", "39ea67c4fea0cd74"]


def test_training_slices_hold_every_class(folder):
    """The order on disk is mixed, so that a slice can be held out."""
    part = load_dataset("digits", data_dir=folder, train_split="train[90%:]").train
    assert np.bincount(part.labels, minlength=10).min() >= 5


def test_held_out_is_spread_evenly_over_each_class():
    labels = np.repeat([0, 1], [36 * 5, 37])
    chosen = held_out(labels)
    np.testing.assert_array_equal(np.flatnonzero(chosen[:180]), np.arange(0, 180, 5))
    assert chosen[180:].sum() == 36


def test_preparation_is_quiet(tmp_path, capfd):
    load_dataset("digits", data_dir=tmp_path)
    captured = capfd.readouterr()
    assert len((captured.out + captured.err).splitlines()) <= 1


@pytest.mark.usefixtures("dataset")
def test_prepared_data_is_used_again(folder):
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    load_dataset("digits", data_dir=folder)
    assert files == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
