"""The embedded data set `digits`: a TFDS builder that needs neither TensorFlow nor a download."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from sklearn.datasets import load_digits

_TEST_IMAGES_PER_CLASS = 36  # 20 % of the 1,797 images
_LARGEST_VALUE = 16  # scikit-learn gives the grey levels as 0 to 16


class Digits(tfds.core.GeneratorBasedBuilder):
    """Handwritten digits, 1,797 real grey images of 8x8 pixels: 1,437 to train on and 360 to test on.

    The pictures are the test part of the UCI data set "Optical Recognition of Handwritten Digits", as
    scikit-learn ships it. An example is {"image": uint8 [8, 8, 1], "label": 0 to 9}.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (TFDS wants a plain dict)

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description="1,797 handwritten digits of 8x8 pixels from UCI, as scikit-learn ships them.",
            homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager  # nothing to download
        digits = load_digits()
        images = np.rint(digits.images * (255 / _LARGEST_VALUE)).astype(np.uint8)
        in_test = held_out(digits.target)
        return {
            "train": self._generate_examples(images, digits.target, np.flatnonzero(~in_test)),
            "test": self._generate_examples(images, digits.target, np.flatnonzero(in_test)),
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray, chosen: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in chosen.tolist():
            # As a PIL image, because TFDS encodes an array with TensorFlow.
            yield index, {"image": Image.fromarray(images[index]), "label": int(labels[index])}


def held_out(labels: np.ndarray) -> np.ndarray:
    """Which images are for testing: 36 of each class, spread evenly over the class in scikit-learn's order.

    There is no randomness in the rule, so the split is the same in every version of every library.

    Args:
      labels: int [n], at least 36 of each class.

    Returns:
      bool [n].
    """
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen[members[np.arange(_TEST_IMAGES_PER_CLASS) * len(members) // _TEST_IMAGES_PER_CLASS]] = True
    return chosen
