"""TFDS' own builder of CIFAR-100, from an archive in the original layout to our arrays. It needs TensorFlow."""

import importlib.util
import io
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tcl_jax.data import load_dataset

COUNTS = {"train": 200, "test": 100}
FINE = [f"fine_{i:02}" for i in range(100)]
COARSE = [f"coarse_{i:02}" for i in range(20)]


def generated():
    """Random images [n, 32, 32, 3] and labels of both splits."""
    random = np.random.RandomState(8)
    return {
        split: (random.randint(0, 256, (count, 32, 32, 3), np.uint8), random.permutation(count) % 100)
        for split, count in COUNTS.items()
    }


def write_archive(path, splits):
    """cifar-100-binary.tar.gz: of each image the coarse label, the fine label, then red, green and blue by rows."""
    files = {
        "fine_label_names.txt": "\n".join(FINE) + "\n",
        "coarse_label_names.txt": "\n".join(COARSE) + "\n",
    }
    contents = {name: text.encode() for name, text in files.items()}
    for split, (images, labels) in splits.items():
        contents[f"{split}.bin"] = b"".join(
            bytes([label // 5, label]) + image.transpose(2, 0, 1).tobytes()
            for image, label in zip(images, labels.tolist(), strict=True)
        )
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"cifar-100-binary/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="needs TensorFlow, which prepares TFDS' data sets: pip install -e '.[prepare]'",
)
def test_cifar100_is_prepared_from_its_archive_and_read(tmp_path, monkeypatch):
    splits = generated()
    write_archive(tmp_path / "cifar-100-binary.tar.gz", splits)
    urls = []

    def take_the_generated(self, url):
        urls.append(url)
        return self.extract(tmp_path / "cifar-100-binary.tar.gz")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", take_the_generated)
    dataset = load_dataset("cifar100", data_dir=tmp_path / "data")
    assert [url.rpartition("/")[2] for url in urls] == ["cifar-100-binary.tar.gz"]
    assert dataset.class_names == tuple(FINE)
    for split, (images, labels) in splits.items():
        found = getattr(dataset, split)
        assert found.images.shape == (COUNTS[split], 32, 32, 3)
        # TFDS shuffles: the labels must have gone with the images.
        pairs = {(image.tobytes(), int(label)) for image, label in zip(*found, strict=True)}
        assert pairs == {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}
