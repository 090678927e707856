"""What public functions are given and cannot use is refused in a sentence that names it."""

import numpy as np
import pytest

from tcl_jax.augment import make_policy, make_views
from tcl_jax.data import Split
from tcl_jax.evaluate import extract_features, knn_predict, linear_probe, logistic_regression_predict
from tcl_jax.evaluate.metrics import METRICS, measure
from tcl_jax.models import make_encode
from tcl_jax.parallel import make_mesh

BANK = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
LABELS = np.array([0, 0, 1, 1, 2, 2])
NOT_FINITE = BANK.copy()
NOT_FINITE[[1, 2, 5], [0, 1, 2]] = np.nan, np.inf, -np.inf

FEATURES = [
    (NOT_FINITE, "must be finite, got 3 of 6 rows with NaN or infinite numbers"),
    (BANK[0], r"must be floating \[.*\], got float32 \[3\]"),
    (BANK[None], r"must be floating \[.*\], got float32 \[1, 6, 3\]"),
    (np.ones((6, 3), int), r"must be floating \[.*\], got int64 \[6, 3\]"),
    (np.ones((6, 3), complex), r"must be floating \[.*\], got complex128"),
    (np.full((6, 3), "a"), r"must be floating \[.*\], got <U1"),
    ([[1.0, 2.0], [1.0]], r"must be an array, got lists of unequal lengths"),
    (None, r"must be floating \[.*\], got object"),
    (np.zeros((6, 0), np.float32), "at least one row and one column|must be floating"),
    (np.zeros((0, 3), np.float32), "must have at least one row|must be floating"),
]
LABELLINGS = [
    ([0, 0, 1, 1, 2, 3], "must be 0 to 2, got 1 of 6 that are not, the first of them 3"),
    ([0, -1, 1, -1, 2, 2], "must be 0 to 2, got 2 of 6 that are not, the first of them -1"),
    (LABELS + 2**32, r"must be 0 to 2, got 6 of 6 that are not, the first of them 4294967296"),
    (
        np.array([0, 0, 1, 1, 2, 2**63], np.uint64),
        "must be 0 to 2, got 1 of 6 that are not, the first of them 9223372036854775808",
    ),
    (LABELS[:5], r"must be integer \[6\], a class number for each row, got int64 \[5\]"),
    (np.eye(3)[LABELS].astype(int), r"must be integer \[6\], .* got int64 \[6, 3\]"),
    (LABELS.astype(np.float32), r"must be integer \[6\], .* got float32 \[6\]"),
    (LABELS > 0, r"must be integer \[6\], .* got bool \[6\]"),
    (list("aabbcc"), r"must be integer \[6\], .* got <U1 \[6\]"),
    (None, r"must be integer \[6\], .* got object \[\]"),
]
COUNTS = [0, -1, 2.0, 2.5, True, "3", None, float("nan")]
NUMBERS = [
    0,
    -0.1,
    float("nan"),
    float("inf"),
    1e-46,
    1e300,
    np.array(-0.1),
    np.array([0.1]),
    "0.1",
    None,
    True,
]


def knn(**changed):
    given = dict(queries=BANK, bank=BANK, bank_labels=LABELS, num_classes=3) | changed
    return knn_predict(given.pop("queries"), given.pop("bank"), given.pop("bank_labels"), **given)


def regression(**changed):
    given = dict(train_features=BANK, train_labels=LABELS, test_features=BANK, num_classes=3) | changed
    return logistic_regression_predict(
        given.pop("train_features"), given.pop("train_labels"), given.pop("test_features"), **given
    )


FUNCTIONS = [
    (knn, "bank", "bank_labels", "queries"),
    (regression, "train_features", "train_labels", "test_features"),
]


@pytest.mark.parametrize(("function", "features", "labels", "other"), FUNCTIONS)
def test_features_are_finite_numbers_of_one_width(function, features, labels, other):
    for argument in (features, other):
        for value, message in FEATURES:
            with pytest.raises(ValueError, match=f"^{argument} .*({message})"):
                function(**{argument: value})
    with pytest.raises(ValueError, match=rf"^{other} must be floating \[n, 3\], got float32 \[6, 2\]"):
        function(**{other: BANK[:, :2]})


@pytest.mark.parametrize(("function", "features", "labels", "other"), FUNCTIONS)
def test_labels_are_class_numbers_of_the_rows(function, features, labels, other):
    for value, message in LABELLINGS:
        with pytest.raises(ValueError, match=f"^{labels} {message}"):
            function(**{labels: value})
    for value in COUNTS:
        with pytest.raises(ValueError, match=r"^num_classes must be a whole number, 1 or more, got"):
            function(num_classes=value)


def test_k_and_temperature_of_knn():
    for value in COUNTS:
        with pytest.raises(ValueError, match=r"^k must be a whole number, 1 or more, got"):
            knn(k=value)
    for value in NUMBERS:
        with pytest.raises(
            ValueError, match=r"^temperature must be (a scalar|above 0 and finite in float32)"
        ):
            knn(temperature=value)
    assert knn(k=np.int64(2), temperature=np.array(0.1)).tolist() == knn(k=2, temperature=0.1).tolist()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_labels_of_any_integer_type_are_the_same_classes(dtype):
    assert knn(bank_labels=LABELS.astype(dtype), k=1).tolist() == LABELS.tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_of_any_float_type_and_a_list_are_taken(dtype):
    assert knn(bank=BANK.astype(dtype).tolist(), queries=BANK.astype(dtype), k=1).tolist() == LABELS.tolist()


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e-13, 1e25, 1e300])
def test_lengths_that_float32_cannot_square_or_hold_do_not_matter(scale):
    bank = BANK.astype(np.float64) * scale
    assert knn(bank=bank, queries=bank, k=1).tolist() == LABELS.tolist()


IMAGES = np.zeros((6, 4, 4, 1), np.uint8)


@pytest.mark.parametrize(
    ("split", "batch_size", "message"),
    [
        (
            Split(IMAGES / 255, LABELS),
            4,
            r"images of a split must be uint8 \[n, h, w, c\], .* got float64 \[6,",
        ),
        (Split(IMAGES[0], LABELS), 4, r"images of a split must be uint8 .* got uint8 \[4, 4, 1\]"),
        (Split(IMAGES[:0], LABELS[:0]), 4, r"images of a split must be .*, at least one, got uint8 \[0, 4"),
        (Split(IMAGES, LABELS[:5]), 4, r"labels of a split must be integer \[6\], one for each image, got"),
        (Split(IMAGES, LABELS), 0, "batch_size must be a whole number, 1 or more, got 0"),
        (Split(IMAGES, LABELS), 2.0, "batch_size must be a whole number, 1 or more, got 2.0"),
        (Split(IMAGES, LABELS), 3, "batch_size is 3, which the 2 devices do not divide .* use 2"),
    ],
)
def test_a_split_is_pixels_with_labels_and_its_batches_are_divided_by_the_devices(
    frozen, split, batch_size, message
):
    mesh = make_mesh(2)
    encode = make_encode(frozen.model, mean=frozen.mean, std=frozen.std, mesh=mesh)
    with pytest.raises(ValueError, match=message):
        extract_features(encode, frozen.variables, split, batch_size=batch_size, mesh=mesh)
    with pytest.raises(ValueError, match=message):
        probe(frozen, split=split, batch_size=batch_size, mesh=mesh)


def probe(frozen, **changed):
    given = (
        dict(
            split=Split(IMAGES, LABELS),
            test_features=BANK,
            train_features=BANK,
            views=make_views([make_policy("none", crop_padding=0, flip=False)], mean=(0.0,), std=(1.0,)),
            num_classes=3,
            epochs=1,
            learning_rate=0.1,
            batch_size=2,
            seed=0,
            mesh=make_mesh(1),
        )
        | changed
    )
    return linear_probe(
        frozen.model, frozen.variables, given.pop("split"), given.pop("test_features"), **given
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *((dict(train_features=value), f"^train_features .*({message})") for value, message in FEATURES),
        *((dict(test_features=value), f"^test_features .*({message})") for value, message in FEATURES),
        (dict(train_features=BANK[:5]), r"^train_features must be floating \[6, f\], got float32 \[5, 3\]"),
        (dict(test_features=BANK[:, :2]), r"^test_features must be floating \[n, 3\], got float32 \[6, 2\]"),
        (dict(split=Split(IMAGES, LABELS + 1)), r"labels of split must be 0 to 2, got 2 of 6 .* of them 3"),
        (dict(split=Split(IMAGES, LABELS - 1)), r"labels of split must be 0 to 2, got 2 of 6 .* of them -1"),
        (dict(split=Split(IMAGES, LABELS / 2)), r"labels of split must be integer .* got float64"),
        *((dict(epochs=value), "^epochs must be a whole number") for value in COUNTS),
        *((dict(num_classes=value), "^num_classes must be a whole number") for value in COUNTS),
        *(
            (dict(learning_rate=value), "^learning_rate must be (a scalar|above 0 and finite in float32)")
            for value in NUMBERS
        ),
    ],
)
def test_the_linear_probe_names_what_it_cannot_use(frozen, changed, message):
    with pytest.raises(ValueError, match=message):
        probe(frozen, **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(features=BANK[0]), r"^(features|labels) must be"),
        (dict(labels=LABELS[:5]), r"^labels must be integer \[6\]"),
        (dict(labels=LABELS - 2), "^labels must be -1 to 2, got 2 of 6 .* the first of them -2"),
        (dict(labels=LABELS + 2**32), "^labels must be -1 to 2, got 6 of 6"),
        (dict(train_labels=LABELS + 1), "^train_labels must be -1 to 2, got 2 of 6 .* the first of them 3"),
        (dict(train_labels=LABELS[:5]), r"^train_labels must be integer \[6\]"),
    ],
)
def test_measure_names_what_it_cannot_use(changed, message):
    available = dict(features=BANK, labels=LABELS, train_features=BANK, train_labels=LABELS, num_classes=3)
    available |= changed
    with pytest.raises(ValueError, match=message):
        measure(METRICS["knn"], available["labels"], available)
