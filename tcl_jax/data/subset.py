"""Part of the labelled training images: some classes, equally many images of each, or fewer from class to class."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tcl_jax.data.dataset import Dataset, DatasetFacts
from tcl_jax.data.order import raw_stream
from tcl_jax.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Int, Integer

_SUBSET = (0, 3)  # spawn key; see `tcl_jax.data.order`


class Subset(NamedTuple):
    """Which of the training images are trained on: the fields of the config by their names.

    Attributes:
      train_classes: "first:end", labels of the classes that are trained on, either of which may be left out; "" all.
      train_images_of_class: images of every class; 0 all.
      imbalance: the factor f of `long_tail`; 1 for none.
      subset_seed: decides which images of a class these are.
    """

    train_classes: str = ""
    train_images_of_class: int = 0
    imbalance: float = 1.0
    subset_seed: int = 0

    @property
    def asked(self) -> dict[str, object]:
        """The values that leave something out, by the field of the config."""
        return {
            f"data.{name}": value
            for name, value in self._asdict().items()
            if name != "subset_seed" and value != self._field_defaults[name]
        }


def take_subset(dataset: Dataset, subset: Subset) -> Dataset:
    """The data set with those training images alone. Where there is nothing to leave out it is the same object.

    With train_classes the test images become those of the classes that are not trained on (open-set retrieval), and
    the classes are numbered anew, those that are trained on first, each group in its own order.

    Raises:
      UserError: training images without a class, classes that are not there, or too few images of one.
    """
    if not subset.asked:
        return dataset
    if not dataset.train.is_labelled:
        raise _no_classes(
            subset,
            f"{int((dataset.train.labels < 0).sum()):,} of {len(dataset.train.labels):,} training images",
        )
    if subset.train_classes:
        dataset = _divide_classes(dataset, subset.train_classes)
    labels, names = dataset.train.labels, dataset.train_class_names
    counts = np.bincount(labels, minlength=len(names))
    fewest = int(np.argmin(counts))
    sizes = _sizes(subset, counts, of=f"class '{names[fewest]}' has {counts[fewest]:,} training images")
    if sizes is None:
        return dataset
    chosen = sample_per_class(labels, sizes, seed=subset.subset_seed)
    return dataclasses.replace(dataset, train=dataset.train.select(chosen))


def subset_facts(facts: DatasetFacts, subset: Subset) -> DatasetFacts:
    """What is known of `take_subset` without the labels: classes are taken to have equally many images.

    Raises:
      UserError: as there, as far as it is known.
    """
    if not subset.asked:
        return facts
    if not facts.num_classes:
        raise _no_classes(subset, "the training images")
    classes = range(facts.num_classes)[parse_classes(subset.train_classes)]
    _check_classes(subset.train_classes, classes, facts.num_classes)
    each = facts.num_images // facts.num_classes
    counts = np.full(len(classes), each)
    sizes = _sizes(subset, counts, of=f"the smallest class has at most {each:,} training images")
    exact = subset.train_images_of_class and subset.imbalance == 1
    of_classes = facts.num_images * len(classes) // facts.num_classes
    return facts._replace(
        num_classes=len(classes),
        num_images=of_classes if sizes is None else int(sizes.sum()),
        source=facts.source if exact else f"{facts.source}, of classes of one size",
    )


def long_tail(largest: int, num_classes: int, imbalance: float) -> Int[np.ndarray, " c"]:
    """Numbers of images of classes that become fewer exponentially, by label.

        n_i = max(1, floor(n f^(-i / (C - 1)))),    i = 0, ..., C - 1

    Args:
      largest: n, images of class 0.
      num_classes: C.
      imbalance: f, 1 or more: class 0 has f times the images of class C - 1.

    Returns:
      int64 [C].

    References:
      Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, arXiv 1901.05555, Sec. 5.1. Its
      code takes n = 5,000 for CIFAR-10.

    >>> long_tail(5000, 10, 100.0).tolist()
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    exponents = np.arange(num_classes) / max(num_classes - 1, 1)
    # A whole number, as 64 / 64^(1/3), may come out a little below itself.
    return np.maximum(np.floor(largest / imbalance**exponents + 1e-9), 1).astype(np.int64)


def sample_per_class(
    labels: Integer[np.ndarray, " n"], sizes: Integer[np.ndarray, " c"], *, seed: int
) -> Int[np.ndarray, " chosen"]:
    """Positions of sizes[c] images of each class c, at random: a pure function of the arguments.

    It is the same in every version of NumPy. With the same labels and seed, a smaller number of images of a class are
    among those of a larger one.

    Args:
      labels: int [n], 0 to C - 1.
      sizes: int [C]; where a class has no more images than that, all are taken.
      seed: 0 or more.

    Returns:
      int32 [m], ascending.

    Raises:
      ValueError: seed is negative.

    >>> sample_per_class(np.array([0, 0, 0, 1, 1]), np.array([3, 0]), seed=0).tolist()
    [0, 1, 2]
    """
    drawn = raw_stream(seed, _SUBSET).random_raw(len(labels))
    order = np.lexsort((drawn, labels))  # class by class, each in random order
    of_class = labels[order]
    starts = np.searchsorted(of_class, np.arange(len(sizes)))
    rank = np.arange(len(labels)) - starts[of_class]
    return np.sort(order[rank < sizes[of_class]]).astype(np.int32)


def parse_classes(text: str) -> slice:
    """The slice that data.train_classes names; "" is all.

    Raises:
      UserError: it has another form.

    >>> range(200)[parse_classes("100:")]
    range(100, 200)
    """
    found = re.fullmatch(r"(\d*):(\d*)", text or ":", flags=re.ASCII)
    if found is None:
        raise UserError(
            f"data.train_classes is '{text}', expected the labels of classes as first:end, as in '0:100', or '' for "
            "all: give those."
        )
    first, end = (int(number) if number else None for number in found.groups())
    return slice(first, end)


def _divide_classes(dataset: Dataset, text: str) -> Dataset:
    """The images of some classes to train on, and of all others to test on."""
    num_classes = len(dataset.class_names)
    seen = range(num_classes)[parse_classes(text)]
    _check_classes(text, seen, num_classes)
    order = [*seen, *(label for label in range(num_classes) if label not in seen)]
    renumbered = np.empty(num_classes, np.int32)
    renumbered[order] = np.arange(num_classes)
    train, test = dataset.train, dataset.test
    train = train._replace(labels=renumbered[train.labels])
    train = train.select(np.flatnonzero(train.labels < len(seen)))
    if test is not None:
        test = test._replace(labels=renumbered[test.labels])
        test = test.select(np.flatnonzero(test.labels >= len(seen)))
    for field, split, which in (("train", train, "these"), ("test", test, "the other")):
        if split is not None and not len(split.labels):
            raise UserError(
                f"data.train_classes is '{text}', but no image of data.{field}_split is of {which} classes: name other "
                "classes, or another split."
            )
    return dataclasses.replace(
        dataset,
        train=train,
        test=test,
        class_names=tuple(dataset.class_names[label] for label in order),
        unseen_classes=num_classes - len(seen),
    )


def _check_classes(text: str, classes: range, num_classes: int) -> None:
    asked = parse_classes(text)
    if (asked.stop or 0) > num_classes or not classes:
        raise UserError(
            f"data.train_classes is '{text}', expected classes of the {num_classes} that there are: give first:end "
            f"within 0:{num_classes}."
        )


def _sizes(subset: Subset, counts: np.ndarray, *, of: str) -> np.ndarray | None:
    """Images to take of each class; None for all.

    Args:
      counts: images that there are of each.
      of: what is known of the fewest, for messages.
    """
    asked = {field: value for field, value in subset.asked.items() if field != "data.train_classes"}
    if not asked:
        return None
    fewest, largest = int(counts.min()), subset.train_images_of_class
    if fewest < max(largest, 1):
        given = " and ".join(f"{field} is {value}" for field, value in asked.items())
        raise UserError(
            f"{given}, but {of}, expected {max(largest, 1):,} or more: ask for fewer, or give more images of it."
        )
    return long_tail(largest or fewest, len(counts), subset.imbalance)


def _no_classes(subset: Subset, which: str) -> UserError:
    field, value = next(iter(subset.asked.items()))
    return UserError(
        f"{field} is {value!r}, but {which} are without a class: set it to {_off(field)!r}, or name another "
        "data.train_split."
    )


def _off(field: str) -> object:
    return Subset._field_defaults[field.removeprefix("data.")]
