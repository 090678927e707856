"""The data set `imagenet100`: a TFDS builder over ImageNet's own folders, which needs no TensorFlow."""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from tcl_jax.data.class_folders import shortened
from tcl_jax.errors import UserError

_FOLDERS = {"train": "train", "test": "val"}  # of each split
_MANUAL_DIR = "downloads/manual"  # where TFDS looks for what it cannot download

# WordNet ids as the official code of TCL lists them (IN100.txt).
_IDS = """
n01558993 n01692333 n01729322 n01735189 n01749939 n01773797 n01820546 n01855672 n01978455 n01980166
n01983481 n02009229 n02018207 n02085620 n02086240 n02086910 n02087046 n02089867 n02089973 n02090622
n02091831 n02093428 n02099849 n02100583 n02104029 n02105505 n02106550 n02107142 n02108089 n02109047
n02113799 n02113978 n02114855 n02116738 n02119022 n02123045 n02138441 n02172182 n02231487 n02259212
n02326432 n02396427 n02483362 n02488291 n02701002 n02788148 n02804414 n02859443 n02869837 n02877765
n02974003 n03017168 n03032252 n03062245 n03085013 n03259280 n03379051 n03424325 n03492542 n03494278
n03530642 n03584829 n03594734 n03637318 n03642806 n03764736 n03775546 n03777754 n03785016 n03787032
n03794056 n03837869 n03891251 n03903868 n03930630 n03947888 n04026417 n04067472 n04099969 n04111531
n04127249 n04136333 n04229816 n04238763 n04336792 n04418357 n04429376 n04435653 n04485082 n04493381
n04517823 n04589890 n04592741 n07714571 n07715103 n07753275 n07831146 n07836838 n13037406 n13040303
"""
CLASSES = tuple(_IDS.split())  # in alphabetical order


class Imagenet100(tfds.core.GeneratorBasedBuilder):
    """100 of ImageNet's 1,000 classes: its training images to train on, its validation images to test on.

    The files' bytes are kept as they are. An example is {"image": uint8 [h, w, 3], "label": 0 to 99 in the order of the
    WordNet ids, "file_name": "n01440764_10026.JPEG"}.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (TFDS wants a plain dict)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "ImageNet (ILSVRC 2012) as train/<WordNet id>/*.JPEG and val/<WordNet id>/*.JPEG."
    )

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description="100 classes of ImageNet (ILSVRC 2012), those of the official code of TCL.",
            homepage="https://www.image-net.org",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        root = epath.Path(dl_manager.manual_dir)
        return {split: self._generate_examples(root / folder) for split, folder in _FOLDERS.items()}

    def _generate_examples(self, folder: epath.Path) -> Iterator[tuple[str, dict[str, Any]]]:
        for label, wordnet_id in enumerate(CLASSES):
            for path in _images(folder / wordnet_id):
                yield path.name, {"image": path.read_bytes(), "label": label, "file_name": path.name}


def find_imagenet(data_dir: epath.Path) -> epath.Path:
    """The folder that holds ImageNet's train/ and val/: data_dir, or downloads/manual in it, as TFDS has it.

    Raises:
      UserError: neither does, or classes of ImageNet-100 or their images are missing there.
    """
    manual_dir = data_dir / _MANUAL_DIR
    root = next((folder for folder in (data_dir, manual_dir) if (folder / "train").is_dir()), None)
    if root is None:
        raise UserError(
            f"The data set 'imagenet100' is not prepared in {data_dir}, and there is no ImageNet to make it from: give "
            "as data.data_dir the folder that holds ImageNet's train/<WordNet id>/*.JPEG and val/<WordNet id>/*.JPEG, "
            f"or link that folder to {manual_dir}."
        )
    for folder in _FOLDERS.values():
        missing = [wordnet_id for wordnet_id in CLASSES if not _has_images(root / folder / wordnet_id)]
        if missing:
            raise UserError(
                f"{root / folder} lacks {len(missing)} of the 100 classes of imagenet100 ({shortened(missing)}): put "
                f"their images there, as {folder}/<WordNet id>/*.JPEG, and repeat the command."
            )
    return root


def _images(folder: epath.Path) -> list[epath.Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == ".JPEG" and path.name[0] != ".")


def _has_images(folder: epath.Path) -> bool:
    return folder.is_dir() and bool(_images(folder))
