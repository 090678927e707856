"""Which training images a subset takes: by the published sizes, at random and repeatable, of whatever kind they are."""

import numpy as np
import pytest

from tcl_jax.data import (
    Dataset,
    DatasetFacts,
    LazyImages,
    Split,
    Subset,
    dataset_facts,
    load_dataset,
    long_tail,
    sample_per_class,
    subset_facts,
    take_subset,
)
from tcl_jax.data.identity import identity
from tcl_jax.errors import UserError

from .folders import tree

RNG = np.random.default_rng(0)
NAMES = ("ant", "bee", "cat", "dog")
LABELS = RNG.permutation(np.repeat(np.arange(4), (40, 30, 20, 25))).astype(np.int32)
TEST_LABELS = np.repeat(np.arange(4), 5).astype(np.int32)


def data_set(labels=LABELS, *, lazy=False, names=NAMES, test_labels=TEST_LABELS):
    """Images that hold their position in the split as their pixel."""
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    shown = LazyImages(lambda position: images[position], range(len(labels)), (1, 1, 1)) if lazy else images
    of_test = np.arange(100, 100 + len(test_labels), dtype=np.uint8)[:, None, None, None]
    test = Split(of_test, test_labels) if len(test_labels) else None
    return Dataset("own", train=Split(shown, labels), test=test, class_names=names)


def positions(split):
    return split.images[np.arange(len(split.labels))].ravel()


def test_long_tailed_cifar_has_its_published_sizes():
    # Cui et al. 2019: CIFAR-10 and CIFAR-100 with factors 100 and 10.
    assert long_tail(5000, 10, 100).sum() == 12_406
    assert long_tail(5000, 10, 10).sum() == 20_431
    assert long_tail(500, 100, 100).sum() == 10_847
    assert (long_tail(500, 100, 100)[[0, -1]] == (500, 5)).all()


@pytest.mark.parametrize("classes", [1, 2, 4, 7, 100])
@pytest.mark.parametrize("imbalance", [1.0, 1.7, 8.0, 64.0, 1000.0, 1e30])
def test_sizes_fall_by_the_formula_and_none_is_empty(classes, imbalance):
    sizes = long_tail(1000, classes, imbalance)
    assert sizes[0] == 1000
    for i, size in enumerate(sizes):
        exact = 1000 * imbalance ** (-i / max(classes - 1, 1))
        assert size == max(1, int(exact + 1e-9))
    assert sizes[-1] == (1000 if classes == 1 else max(1, int(1000 / imbalance)))


@pytest.mark.parametrize("case", range(50))
def test_a_choice_has_its_sizes_is_repeatable_and_grows_by_adding(case):
    rng = np.random.default_rng(case)
    labels = rng.integers(0, int(rng.integers(1, 12)), int(rng.integers(1, 300)))
    counts = np.bincount(labels)
    sizes = rng.integers(0, counts + 1)
    chosen = sample_per_class(labels, sizes, seed=case)
    assert chosen.dtype == np.int32
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(np.bincount(labels[chosen], minlength=len(counts)), sizes)
    np.testing.assert_array_equal(chosen, sample_per_class(labels, sizes, seed=case))
    assert set(sample_per_class(labels, sizes // 2, seed=case)) <= set(chosen)


def test_every_image_of_a_class_is_chosen_as_often_as_another():
    labels = np.repeat([0, 1], [10, 30])
    chosen = [sample_per_class(labels, np.array([5, 3]), seed=seed) for seed in range(2000)]
    shares = np.bincount(np.concatenate(chosen), minlength=40) / 2000
    np.testing.assert_allclose(shares[:10], 0.5, atol=0.05)
    np.testing.assert_allclose(shares[10:], 0.1, atol=0.04)


def test_a_choice_that_is_stored_stays_what_it_is():
    # In every version of NumPy: a run that goes on has the images with which it began.
    assert sample_per_class(np.arange(40) % 4, np.array([3, 2, 1, 0]), seed=3).tolist() == [
        12,
        16,
        17,
        24,
        33,
        38,
    ]


@pytest.mark.parametrize("lazy", [False, True])
def test_images_and_labels_stay_together(lazy):
    found = take_subset(data_set(lazy=lazy), Subset(train_images_of_class=7, subset_seed=1)).train
    assert isinstance(found.images, LazyImages) == lazy
    assert found.images.shape == (28, 1, 1, 1)
    np.testing.assert_array_equal(found.labels, LABELS[positions(found)])
    np.testing.assert_array_equal(np.bincount(found.labels), [7, 7, 7, 7])


def test_imbalance_begins_with_the_smallest_class_or_what_is_asked_for():
    found = take_subset(data_set(), Subset(imbalance=10.0))
    np.testing.assert_array_equal(np.bincount(found.train.labels), long_tail(20, 4, 10.0))
    found = take_subset(data_set(), Subset(imbalance=5.0, train_images_of_class=10))
    np.testing.assert_array_equal(np.bincount(found.train.labels), [10, 5, 3, 2])
    assert found.test.images is not None
    assert len(found.test.labels) == 20  # whole


def test_nothing_is_touched_where_nothing_is_asked_for():
    dataset = data_set()
    assert take_subset(dataset, Subset()) is dataset
    assert take_subset(dataset, Subset(subset_seed=9)) is dataset
    unlabelled = data_set(np.full(5, -1, np.int32), names=())
    assert take_subset(unlabelled, Subset()) is unlabelled


@pytest.mark.parametrize(
    ("text", "seen"), [("0:2", [0, 1]), (":1", [0]), ("2:", [2, 3]), ("1:3", [1, 2]), ("00:3", [0, 1, 2])]
)
def test_classes_that_are_trained_on_and_those_that_are_retrieved(text, seen):
    whole = data_set()
    found = take_subset(whole, Subset(train_classes=text))
    unseen = [label for label in range(4) if label not in seen]
    names = found.class_names
    assert names == tuple(NAMES[label] for label in seen + unseen)
    assert found.train_class_names == tuple(NAMES[label] for label in seen)
    assert sorted(set(found.train.labels)) == list(range(len(seen)))
    for split, labels, first, classes in (
        (found.train, LABELS, 0, seen),
        (found.test, TEST_LABELS, 100, unseen),
    ):
        kept = positions(split) - first
        np.testing.assert_array_equal(kept, np.flatnonzero(np.isin(labels, classes)))
        assert [names[label] for label in split.labels] == [NAMES[label] for label in labels[kept]]
        assert split.labels.dtype == np.int32


def test_few_images_of_some_classes_without_a_test_split():
    found = take_subset(data_set(test_labels=[]), Subset("2:4", 20, 4.0))
    assert found.test is None
    assert found.class_names == ("cat", "dog", "ant", "bee")
    np.testing.assert_array_equal(np.bincount(found.train.labels), [20, 5])


def test_identity_and_statistics_are_those_of_the_images_that_are_trained_on():
    whole, found = data_set(), take_subset(data_set(), Subset(train_images_of_class=5))
    about = identity(found)
    assert (about["training images"], about["test images"]) == (20, 20)
    assert about["mean"] == pytest.approx([positions(found.train).mean() / 255])
    assert about["mean"] != identity(whole)["mean"]
    other = identity(take_subset(data_set(), Subset(train_images_of_class=5, subset_seed=1)))
    assert (about["training files"], about["mean"]) != (other["training files"], other["mean"])


UNLABELLED = np.where(np.arange(len(LABELS)) < 3, -1, LABELS).astype(np.int32)


@pytest.mark.parametrize(
    ("subset", "dataset", "message"),
    [
        (Subset("3"), data_set(), "data.train_classes is '3', expected the labels of classes as first:end"),
        (Subset("0:2:1"), data_set(), "data.train_classes is '0:2:1', expected the labels"),
        (Subset(" 0:2"), data_set(), "data.train_classes is ' 0:2', expected the labels"),
        (Subset("\u0660:\u0662"), data_set(), "expected the labels of classes as first:end"),
        (Subset("3:2"), data_set(), "data.train_classes is '3:2', expected classes of the 4 .* within 0:4"),
        (Subset("0:5"), data_set(), "data.train_classes is '0:5', expected classes of the 4 .* within 0:4"),
        (Subset("4:"), data_set(), "data.train_classes is '4:', expected classes of the 4"),
        (Subset(":"), data_set(), "no image of data.test_split is of the other classes"),
        (
            Subset("0:1"),
            data_set(np.array([1, 2], np.int32)),
            "no image of data.train_split is of these classes",
        ),
        (
            Subset("0:1"),
            data_set(UNLABELLED),
            "data.train_classes is '0:1', but 3 of 115 training images are without a class: set it to ''",
        ),
        (Subset(imbalance=2.0), data_set(UNLABELLED), "data.imbalance is 2.0, but 3 of 115 .* set it to 1.0"),
        (
            Subset(train_images_of_class=21),
            data_set(),
            "data.train_images_of_class is 21, but class 'cat' has 20 training images, expected 21 or more",
        ),
        (
            Subset(imbalance=2.0),
            data_set(np.array([0, 1, 2], np.int32)),
            "data.imbalance is 2.0, but class 'dog' has 0 training images, expected 1 or more",
        ),
        (
            Subset("2:", 21, 3.0),
            data_set(),
            "data.train_images_of_class is 21 and data.imbalance is 3.0, but class 'cat' has 20 training images",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(subset, dataset, message):
    with pytest.raises(UserError, match=message) as caught:
        take_subset(dataset, subset)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("subset", "images", "classes", "exact"),
    [
        (Subset(), 1000, 10, True),
        (Subset(train_images_of_class=7), 70, 10, True),
        (Subset("0:4", 7), 28, 4, True),
        (Subset("0:4"), 400, 4, False),
        (Subset("6:", imbalance=8.0), 100 + 50 + 25 + 12, 4, False),
    ],
)
def test_what_is_known_without_the_labels_agrees_with_classes_of_one_size(subset, images, classes, exact):
    facts = subset_facts(DatasetFacts((8, 8, 1), 10, 1000, "published"), subset)
    assert (facts.num_images, facts.num_classes) == (images, classes)
    assert facts.source == ("published" if exact else "published, of classes of one size")
    labels = np.arange(1000) % 10
    whole = data_set(labels.astype(np.int32), names=tuple("abcdefghij"), test_labels=np.arange(10))
    assert len(take_subset(whole, subset).train.labels) == images


@pytest.mark.parametrize(
    ("subset", "classes", "message"),
    [
        (Subset("0:3"), 2, "data.train_classes is '0:3', expected classes of the 2"),
        (Subset(train_images_of_class=51), 2, "is 51, but the smallest class has at most 50 training images"),
        (Subset(imbalance=3.0), 0, "data.imbalance is 3.0, but the training images are without a class"),
    ],
)
def test_what_cannot_be_is_seen_without_the_labels(subset, classes, message):
    with pytest.raises(UserError, match=message):
        subset_facts(DatasetFacts((8, 8, 1), classes, 100, "published"), subset)


def test_an_image_folder_may_be_divided_by_class_too(write_tree):
    both = dict(data_dir=write_tree(tree()), train_split="train+test", test_split="train+test")
    whole = load_dataset("image_folder", **both, may_overlap=True)
    assert len(whole.train.labels) == len(whole.test.labels) == 10
    found = take_subset(whole, Subset(":1"))
    assert len(found.train.labels) + len(found.test.labels) == len(whole.train.labels)
    assert (
        identity(found)["training files"] == identity(whole)["training files"]
    )  # of the files that there are
    assert dataset_facts("image_folder", **both, may_overlap=True).num_images == len(whole.train.labels)


def test_splits_may_overlap_where_classes_divide_them(tmp_path):
    options = dict(data_dir=tmp_path, train_split="train+test", test_split="train+test")
    for know in (load_dataset, dataset_facts):
        with pytest.raises(UserError, match="in common, expected none"):
            know("digits", **options)
    assert dataset_facts("digits", **options, may_overlap=True).num_images == 1797
    pooled = load_dataset("digits", **options, may_overlap=True)
    found = take_subset(pooled, Subset("0:5"))
    assert len(found.train.labels) + len(found.test.labels) == 1797
    assert (found.train.labels.max(), found.test.labels.min()) == (4, 5)
