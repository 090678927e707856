"""TFDS' own builder of CUB-200-2011, from archives in the original layout to our arrays. It needs TensorFlow."""

import importlib.util
import io
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tcl_jax.data import load_dataset

SIZES = [(40, 60), (60, 40), (50, 50), (90, 41)]  # width, height
IN_TRAIN = [1, 0, 1, 1]


def encoded(image, kind):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write_archive(path, contents):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_archives(folder):
    """Four photographs of as many species and sizes, with their masks. Returns the photographs' bytes, by label."""
    random = np.random.RandomState(9)
    photos, names, images, masks = [], [], {}, {}
    for i, (width, height) in enumerate(SIZES):
        small = Image.fromarray(random.randint(0, 256, (5, 6, 3), np.uint8))
        photos.append(encoded(small.resize((width, height), Image.Resampling.BICUBIC), "JPEG"))
        names.append(f"{i + 1:03}.Bird_{i + 1}/Bird_{i + 1}_000{i}_79{i}")
        images[f"CUB_200_2011/images/{names[-1]}.jpg"] = photos[-1]
        masks[f"segmentations/{names[-1]}.png"] = encoded(Image.new("L", (width, height), 255), "PNG")
    tables = {
        "images": [f"{i + 1} {name}.jpg" for i, name in enumerate(names)],
        "train_test_split": [f"{i + 1} {is_train}" for i, is_train in enumerate(IN_TRAIN)],
        "bounding_boxes": [f"{i + 1} 5.0 6.0 20.0 30.0" for i in range(len(names))],
    }
    texts = {f"CUB_200_2011/{name}.txt": "\n".join(rows).encode() + b"\n" for name, rows in tables.items()}
    write_archive(folder / "CUB_200_2011.tgz", texts | images)
    write_archive(folder / "segmentations.tgz", masks)
    return photos


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("cv2") is None,
    reason="needs TensorFlow and OpenCV, which prepare it: pip install tensorflow-cpu opencv-python-headless",
)
def test_cub200_is_prepared_from_its_archives_and_scaled_to_one_size(tmp_path, monkeypatch):
    photos = write_archives(tmp_path)

    def path_of(url):
        return tmp_path / url.rpartition("/")[2].partition("?")[0]

    manager = tfds.download.DownloadManager
    monkeypatch.setattr(manager, "download", lambda self, urls: [path_of(url) for url in urls])
    monkeypatch.setattr(
        manager, "download_and_extract", lambda self, urls: [self.extract(path_of(url)) for url in urls]
    )
    dataset = load_dataset("caltech_birds2011", data_dir=tmp_path / "data", image_size=32)
    assert len(dataset.class_names) == 200
    for split, is_train in [(dataset.train, 1), (dataset.test, 0)]:
        expected = {}
        for label, photo in enumerate(photos):
            if IN_TRAIN[label] == is_train:
                image = Image.open(io.BytesIO(photo))
                # As `decode_image` has it.
                shorter = min(image.size)
                width, height = (32 * side // shorter for side in image.size)
                left, top = round((width - 32) / 2), round((height - 32) / 2)
                scaled = image.resize((width, height), Image.Resampling.BILINEAR)
                expected[label] = np.asarray(scaled.crop((left, top, left + 32, top + 32)))
        assert sorted(split.labels.tolist()) == sorted(expected)
        for image, label in zip(split.images, split.labels, strict=True):
            np.testing.assert_array_equal(image, expected[int(label)])
