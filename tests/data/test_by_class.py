"""What `class_batches` promises, over many sets of labels, and what the rows of a training batch are made of."""

import numpy as np
import pytest

from tcl_jax.data import Split, class_batches, class_steps, train_batches
from tcl_jax.data.lazy import LazyImages
from tcl_jax.errors import UserError


def some_labels(case):
    """(labels, batch_size, images_per_class): balanced, of many sizes, with a class larger than all others."""
    rng = np.random.default_rng(case)
    per_class, classes = int(rng.integers(2, 9)), int(rng.integers(1, 40))
    sizes = rng.integers(1, 1 + rng.choice([1, per_class, 5 * per_class]), classes)
    if case % 3 == 0:
        sizes[0] += int(rng.integers(0, 300))
    names = rng.permutation(1000)[:classes]  # which numbers the classes have does not matter
    labels = rng.permutation(np.repeat(names, sizes)).astype(np.int32)
    return labels, per_class * int(rng.integers(1, classes + 1)), per_class


@pytest.mark.parametrize("case", range(200))
def test_every_promise(case):
    labels, batch_size, m = some_labels(case)
    batches = class_batches(labels, batch_size, m, seed=case, epoch=case % 5)
    np.testing.assert_array_equal(batches, class_batches(labels, batch_size, m, seed=case, epoch=case % 5))
    classes, sizes = np.unique(labels, return_counts=True)
    groups, per_batch = -(-sizes // m), batch_size // m
    steps = groups.sum() // per_batch
    assert (batches.dtype, batches.shape) == (np.int32, (steps, batch_size))
    assert class_steps(labels, batch_size, m)[0] == steps
    seen = batches[batches >= 0]
    assert len(set(seen)) == len(seen)  # none twice
    left_out = groups.sum() - steps * per_batch
    assert left_out < per_batch
    assert len(labels) - left_out * m <= len(seen) <= len(labels) - left_out
    # A class has one group in a batch, or where it is too large for that as few as can be.
    for batch in batches:
        of_batch, in_batch = np.unique(labels[batch[batch >= 0]], return_counts=True)
        own = np.searchsorted(classes, of_batch)
        times = -(-groups[own] // steps)
        assert (in_batch <= m * times).all()
        assert (in_batch >= sizes[own] // groups[own]).all()
        if (groups <= steps).all():
            assert len(of_batch) == per_batch
            if m > 2:
                assert (in_batch[sizes[own] > 1] > 1).all()


def test_a_class_that_is_too_large_is_spread_evenly():
    labels = np.repeat([0, 1, 2, 3], [80, 8, 4, 4])
    batches = class_batches(labels, 16, 4, seed=0, epoch=0)  # 24 groups, 20 of them of one class
    assert [np.sum(labels[batch] == 0) // 4 for batch in batches] == pytest.approx([20 / 6] * 6, abs=0.7)


def test_every_group_is_left_out_equally_often_and_classes_meet_at_random():
    labels = np.repeat(np.arange(6), 4)  # 6 groups, 4 in a batch
    epochs = [class_batches(labels, 16, 4, seed=1, epoch=epoch) for epoch in range(600)]
    counts = np.bincount(labels[np.concatenate(epochs).ravel()], minlength=6) / 4
    np.testing.assert_allclose(counts, 400, atol=60)
    together = {frozenset(labels[epoch.ravel()]) for epoch in epochs}
    assert len(together) == 15  # all choices of 4 of 6
    firsts = np.bincount([epoch[0, 0] for epoch in epochs], minlength=24)
    assert firsts.min() > 5


def test_every_anchor_has_a_positive_of_another_image():
    """200 classes of 30 images, as CUB-200 has: in batches in random order most have none."""
    labels = np.repeat(np.arange(200), 30).astype(np.int32)
    split = Split(np.zeros((6000, 1, 1, 1), np.uint8), labels)

    def share(**options):
        batches = train_batches(split, 64, seed=0, epoch=0, **options)
        same = [(b.labels[:, None] == b.labels) & (b.weights > 0) & ~np.eye(64, dtype=bool) for b in batches]
        rows = np.concatenate([b.weights for b in train_batches(split, 64, seed=0, epoch=0, **options)]) > 0
        return np.concatenate([s.any(axis=1) for s in same])[rows].mean()

    assert share() == pytest.approx(1 - (1 - 29 / 5999) ** 63, abs=0.02)  # 26 %
    assert share(images_per_class=4) == 1


def test_batches_are_frozen():
    """A run continued by a later version must see the same batches: these numbers must never be edited."""
    batches = class_batches(np.repeat([5, 3, 9], [5, 3, 2]), 6, 3, seed=3, epoch=2)
    assert batches.tolist() == [[3, 6, 4, 5, 7, 0], [8, 1, 2, -1, -1, 9]]


def test_every_seed_and_epoch_has_its_own():
    labels = np.repeat(np.arange(10), 10)
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (0, 2)]
    assert len({class_batches(labels, 20, 2, seed=s, epoch=e).tobytes() for s, e in pairs}) == len(pairs)
    for seed, epoch in ((-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            class_batches(labels, 20, 2, seed=seed, epoch=epoch)


@pytest.mark.parametrize(
    ("labels", "sizes", "message"),
    [
        ([0, 1, 2], (4, 1), "images_per_class is 1, expected 2 or more"),
        ([0, 1, 2], (4, 3), "images_per_class is 3, which does not divide batch_size 4"),
        ([0, 1, 2], (0, 2), "images_per_class is 2, which does not divide batch_size 0"),
        (
            [0, 0, 1],
            (6, 2),
            "images_per_class is 2, so that batch_size 6 holds 3 classes, but .* images of 2",
        ),
        ([], (4, 2), "images of 0"),
        ([0, -1, 1], (4, 2), "images_per_class is 2, but some images are without a class"),
    ],
)
def test_what_cannot_be_is_the_users_to_mend(labels, sizes, message):
    with pytest.raises(UserError, match=message) as caught:
        class_batches(np.array(labels, np.int32), *sizes, seed=0, epoch=0)
    assert "\n" not in str(caught.value)


IMAGES = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
LABELS = np.repeat(np.arange(8), [1, 3, 5, 7, 9, 11, 13, 11]).astype(np.int32)
EXAMPLES = np.setdiff1d(np.arange(60, dtype=np.int32), [7, 20, 59])
OPTIONS = dict(seed=2, epoch=1, images_per_class=4, examples=EXAMPLES)


@pytest.fixture(params=["in memory", "on disk"])
def split(request):
    lazy = LazyImages(lambda i: IMAGES[i], range(60), (1, 1, 1))
    return Split(IMAGES if request.param == "in memory" else lazy, LABELS)


def test_a_row_without_an_image_looks_like_another_of_its_batch_and_has_no_weight(split):
    positions = class_batches(LABELS[EXAMPLES], 16, 4, seed=2, epoch=1)
    batches = list(train_batches(split, 16, **OPTIONS))
    assert len(batches) == len(positions)
    assert sum(np.sum(positions < 0, axis=1)) > 0
    for batch, row in zip(batches, positions, strict=True):
        live = row >= 0
        np.testing.assert_array_equal(batch.weights, live.astype(np.float32))
        np.testing.assert_array_equal(batch.indices, np.where(live, EXAMPLES[row], -1))
        pixels = batch.images.ravel()
        np.testing.assert_array_equal(pixels[live], EXAMPLES[row[live]])
        assert set(pixels[~live]) <= set(pixels[live])
        assert np.bincount(pixels).max() <= -(-16 // np.sum(live))  # none more often than it must be
        np.testing.assert_array_equal(batch.labels, LABELS[pixels])
        assert [x.dtype for x in batch] == [np.uint8, np.int32, np.int32, np.float32]


@pytest.mark.parametrize("devices", [2, 8])
def test_devices_and_processes_share_the_same_batch(split, devices):
    whole = list(train_batches(split, 16, **OPTIONS))
    parts = [
        list(train_batches(split, 16, rows=rows, **OPTIONS)) for rows in np.split(np.arange(16), devices)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        for array, *of_shares in zip(batch, *shares, strict=True):
            np.testing.assert_array_equal(array, np.concatenate(of_shares))


def test_an_epoch_goes_on_from_every_step(split):
    whole = list(train_batches(split, 16, **OPTIONS))
    for first in range(len(whole) + 1):
        rest = list(train_batches(split, 16, first_batch=first, **OPTIONS))
        for batch, expected in zip(rest, whole[first:], strict=True):
            for array, other in zip(batch, expected, strict=True):
                np.testing.assert_array_equal(array, other)
    with pytest.raises(ValueError, match=f"first_batch is {len(whole) + 1}, expected 0 to {len(whole)}"):
        train_batches(split, 16, first_batch=len(whole) + 1, **OPTIONS)
