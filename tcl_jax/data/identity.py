"""What makes a data set this one and no other, to compare that of a run with the one found at its next start."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from tcl_jax.data.dataset import Dataset, Split

_TOLERANCE = 0.002  # half a grey level: decoders of JPEG differ in the last bit
_VALUES = {
    "name": "name",
    "version": "version",
    "image shape": "shape of the images",
    "training images": "number of training images",
    "test images": "number of test images",
}
_FILES = {"training files": "training images", "test files": "test images"}


def identity(dataset: Dataset) -> dict[str, Any]:
    """What makes a data set this one, by names for people; numbers, strings and lists alone, as JSON has them.

    It is the same for images in memory and on disk, in any folder and on any machine, but for the last digits of mean
    and deviation, which are those of the training pixels in [0, 1]. The digests are of names, sizes and classes of the
    files in their order, or of the labels where `Dataset.files` has none. A data set without a test split says nothing
    of one.
    """
    test = dataset.test
    version = dataset.version
    digests = dataset.files or [_digest_labels(split) for split in (dataset.train, test) if split]
    found = {
        "name": dataset.name.partition(":")[0] if version else dataset.name,
        "version": version,
        "image shape": [int(length) for length in dataset.train.images.shape[1:]],
        "training images": len(dataset.train.labels),
        "class names": list(dataset.class_names),
        "mean": list(dataset.channel_statistics.mean),
        "std": list(dataset.channel_statistics.std),
        "training files": digests[0],
    }
    return found if test is None else found | {"test images": len(test.labels), "test files": digests[1]}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One phrase for each thing in which two results of `identity` differ; none where the data are the same.

    A key that either lacks is not compared. Means and deviations may differ by 0.002.

    >>> differences({"training images": 1437, "mean": [0.3]}, {"training images": 1500, "mean": [0.301]})
    ['number of training images (1437 there, 1500 now)']
    """
    shared = [key for key in now if key in before]
    found = [
        f"{title} ({_shown(before[key])} there, {_shown(now[key])} now)"
        for key, title in _VALUES.items()
        if key in shared and before[key] != now[key]
    ]
    if "class names" in shared and (renamed := _renamed(before["class names"], now["class names"])):
        found.append(f"class names ({renamed})")
    for key in ("mean", "std"):
        if key in shared and not _close(before[key], now[key]):
            found.append(
                f"{key} of the training pixels ({_shown(before[key])} there, {_shown(now[key])} now)"
            )
    for key, images in _FILES.items():
        # Another number of images is reason enough for another digest.
        if key in shared and before[key] != now[key] and before.get(images) == now.get(images):
            found.append(f"files or labels of the {images}")
    return found


def digest(lines: Sequence[str]) -> str:
    """16 hexadecimal digits of SHA-256, for what has an order."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _digest_labels(split: Split) -> str:
    return digest([str(label) for label in split.labels.tolist()])


def _renamed(before: Sequence[str], now: Sequence[str]) -> str:
    """The first class that has another number or name now; "" where there is none."""
    for label, (old, new) in enumerate(itertools.zip_longest(before, now)):
        if old != new:
            if old in now:
                return f"{old!r} is class {label} there, {now.index(old)} now"
            old, new = ("missing" if name is None else repr(name) for name in (old, new))
            return f"class {label} is {old} there, {new} now"
    return ""


def _close(before: Sequence[float], now: Sequence[float]) -> bool:
    return len(before) == len(now) and all(
        abs(one - other) <= _TOLERANCE for one, other in zip(before, now, strict=True)
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return str([round(number, 4) for number in value])
    return str(value) or "none"
