"""What is refused, and in which words; and that labels of every integer dtype mean what they say."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.preprocessing import LabelEncoder

from tcl_jax import losses
from tests.losses import reference

LABELS = np.repeat(np.arange(4), 3)
ROWS = reference.random_case(0, n=12)[0].astype(np.float32)
BY_LABELS = (losses.tcl_loss, losses.supcon_loss, functools.partial(losses.tcl_loss, reduction="none"))
NUMBERED = re.escape("np.unique(labels, return_inverse=True)[1]")


def with_names(*names, dtype=None):
    """Labels of four classes that have these names."""
    return np.asarray([names[i] for i in LABELS], dtype)


def expected(names):
    """Mean loss of `supcon_loss` at temperature 0.1, by scikit-learn's numbers of the classes."""
    numbers = LabelEncoder().fit_transform(np.asarray(names))
    return reference.mean_loss(ROWS.astype(np.float64), numbers, np.ones(12), temperature=0.1, k1=0.0, k2=1.0)


FITTING = {
    "int64": with_names(-(2**31), 2**31 - 1, 0, -1, dtype=np.int64),
    "uint64": with_names(0, 2**32 - 1, 2**31, 7, dtype=np.uint64),
    "uint32": with_names(2**31 + 1, 2**31, 5, 2**32 - 1, dtype=np.uint32),
    "int8": with_names(-128, 127, 0, 1, dtype=np.int8),
    "uint8": with_names(255, 0, 128, 127, dtype=np.uint8),
    "list": with_names(3, 1, 2, 0).tolist(),
    "list of arrays": [jnp.int32(label) for label in LABELS],
    "parameter": nnx.Variable(jnp.asarray(LABELS)),
}
TOO_LARGE = {
    "int64": with_names(0, 2**32, 2**33, 5, dtype=np.int64),
    "alike in 32 bits": with_names(2**32, 2**33, 2**34, 2**35, dtype=np.int64),
    "negative": with_names(-(2**31) - 1, 0, 1, 2, dtype=np.int64),
    "uint64": with_names(2**63 + 5, 2**63, 5, 6, dtype=np.uint64),
    "list": with_names(0, 2**32, -(2**40), 5).tolist(),
    "tuple": tuple(with_names(2**31, 0, 1, 2).tolist()),
}


@pytest.mark.parametrize("kind", FITTING)
def test_labels_of_any_integer_dtype_name_classes(kind):
    value = losses.supcon_loss(ROWS, FITTING[kind])
    assert float(value) == pytest.approx(expected([int(x) for x in jnp.asarray(FITTING[kind])]), rel=1e-5)


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_labels_that_a_cast_to_32_bits_would_change_are_refused(kind):
    large, numbers = TOO_LARGE[kind], np.unique(TOO_LARGE[kind], return_inverse=True)[1]
    for function in (*BY_LABELS, losses.diagnostics):
        with pytest.raises(ValueError, match=rf"labels must fit in u?int32, got -?\d+: .*{NUMBERED}"):
            function(ROWS, large)
        with pytest.raises(ValueError, match="labels must fit"):  # the labels are known, the rows are not
            jax.eval_shape(lambda rows, function=function: function(rows, large), ROWS)
    # What the message advises, and what 64-bit mode gives.
    assert float(losses.supcon_loss(ROWS, numbers)) == pytest.approx(expected(large), rel=1e-5)
    with jax.enable_x64(True):
        assert float(losses.supcon_loss(ROWS, large)) == pytest.approx(expected(large), rel=1e-5)
        array = jnp.asarray(large)
    with pytest.raises(ValueError, match="labels must fit"):  # 64 bits of 64-bit mode, used outside it
        losses.supcon_loss(ROWS, array)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (with_names("cat", "dog", "owl", "ant"), "strings [12]"),
        (with_names(b"cat", b"dog", b"owl", b"ant"), "|S3 [12]"),
        (with_names("cat", "dog", "owl", None, dtype=object), "objects [12]"),
        (LABELS.astype(object), "objects [12]"),
        (with_names(2**70, 0, 1, 2, dtype=object).tolist(), "objects [12]"),
        (LABELS > 1, "bool [12]"),
        (LABELS.astype(np.float32), "float32 [12]"),
        (jnp.asarray(LABELS, jnp.float32), "float32 [12]"),
        (np.eye(12, 5, dtype=int), "int64 [12, 5]"),
        (LABELS[:11], "int64 [11]"),
        (np.int64(3), "int64 []"),
        (None, "objects []"),
        (set(LABELS.tolist()), "objects []"),
        (LABELS.astype("datetime64[D]"), "datetime64[D] [12]"),
        (jax.random.split(jax.random.key(0), 12), "key<fry> [12]"),
    ],
)
def test_labels_that_are_not_integers_are_refused_in_one_sentence(labels, found):
    for function in (*BY_LABELS, losses.diagnostics):
        with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
            function(ROWS, labels)
        assert str(error.value) == (
            f"labels must be integer [12], one for each row, or floating [12, classes], got {found}: "
            "np.unique(labels, return_inverse=True)[1] numbers classes of any names."
        )


SCALARS = {
    "Python": lambda x: x,
    "NumPy scalar": np.float32,
    "NumPy array": np.array,
    "JAX array": jnp.array,
    "16-bit array": functools.partial(jnp.array, dtype=jnp.bfloat16),
    "parameter": lambda x: nnx.Param(jnp.array(x)),
}


@pytest.mark.parametrize("kind", SCALARS)
@pytest.mark.parametrize("value", [-0.1, 0, float("nan"), float("inf"), float("-inf")])
def test_scalars_out_of_range_are_refused_wherever_they_come_from(kind, value):
    given = SCALARS[kind](value)
    refused = pytest.raises(
        ValueError, match=r"temperature must be above 0 and finite in float32, got -?[0-9ni]"
    )
    for function in (*BY_LABELS, losses.diagnostics):
        with refused:
            function(ROWS, LABELS, temperature=given)
    with refused:
        losses.ntxent_loss(ROWS, temperature=given)
    for name in ("k1", "k2") if value != 0 else ():
        for function in (losses.tcl_loss, losses.diagnostics):
            with pytest.raises(ValueError, match=f"{name} must be at least 0 and finite in float32, got "):
                function(ROWS, LABELS, **{name: given})


@pytest.mark.parametrize("kind", SCALARS)
def test_scalars_in_range_give_the_same_loss_wherever_they_come_from(kind):
    value = losses.tcl_loss(
        ROWS, LABELS, temperature=SCALARS[kind](0.5), k1=SCALARS[kind](2), k2=SCALARS[kind](0)
    )
    assert value == losses.tcl_loss(ROWS, LABELS, temperature=0.5, k1=2.0, k2=0.0)


@pytest.mark.parametrize(
    "given", ["0.1", None, True, 1j, [0.1], np.array(0.1, object), {}, jax.random.key(0)]
)
def test_what_is_not_a_real_scalar_is_refused(given):
    for name in ("temperature", "k1", "k2"):
        with pytest.raises(ValueError, match=f"{name} must be a scalar, integer or floating, got "):
            losses.tcl_loss(ROWS, LABELS, **{name: given})


def test_a_scalar_that_its_dtype_does_not_hold_is_refused():
    for temperature in (1e-50, 1e-40):
        with pytest.raises(
            ValueError, match=f"temperature must be above 0 and finite in float32, got {temperature}"
        ):
            losses.supcon_loss(ROWS, LABELS, temperature=temperature)
    with pytest.raises(ValueError, match=r"k1 must be at least 0 and finite in float32, got 1e\+40"):
        losses.tcl_loss(ROWS, LABELS, k1=1e40)
    with jax.enable_x64(True):
        assert np.isfinite(losses.tcl_loss(ROWS.astype(np.float64), LABELS, k1=1e40))


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), 1e40, 2e38])
def test_weights_out_of_range_are_refused(bad):
    weights = np.array([bad, bad] + [1.0] * 10)
    with np.errstate(over="ignore"):
        arrays = weights, weights.tolist(), jnp.asarray(weights)
    for given in arrays:
        for function in (*BY_LABELS, losses.diagnostics):
            with pytest.raises(ValueError, match="weights must be at least 0 with a finite sum"):
                function(ROWS, LABELS, weights=given)
        with pytest.raises(ValueError, match="weights must be at least 0"):
            losses.ntxent_loss(ROWS, weights=given)


@pytest.mark.parametrize("weights", [["1"] * 12, np.ones(12, complex), [None] * 12, 1.0])
def test_weights_that_are_not_numbers_for_each_row_are_refused(weights):
    with pytest.raises(ValueError, match=r"weights must have shape \[12\], one number for each row, got"):
        losses.supcon_loss(ROWS, LABELS, weights=weights)


def test_weights_may_be_a_mask():
    assert losses.supcon_loss(ROWS, LABELS, weights=[True] * 12) == losses.supcon_loss(ROWS, LABELS)


def test_ragged_lists_are_refused():
    good = dict(embeddings=ROWS, labels=LABELS)
    for name in ("embeddings", "labels", "weights", "temperature"):
        with pytest.raises(ValueError, match=f"{name} must be an array, got lists of unequal lengths"):
            losses.supcon_loss(**(good | {name: [[1], [2, 3]]}))


def test_traced_values_are_not_checked_and_pass():
    def loss(labels, temperature, weights):
        one_by_one = [labels[i] for i in range(12)]
        return losses.supcon_loss(ROWS, one_by_one, temperature=temperature, weights=weights)

    assert np.isfinite(jax.jit(loss)(LABELS, -0.1, -np.ones(12)))
    gradient = jax.grad(loss, argnums=1)(LABELS, 0.1, np.ones(12))
    assert np.isfinite(gradient)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(embeddings=np.ones((4, 2), int)), "embeddings must be floating"),
        (dict(embeddings=np.ones((4, 2, 2))), "embeddings must be floating"),
        (dict(embeddings=np.array([["1"] * 2] * 4)), r"embeddings must be floating .*got strings \[4, 2\]"),
        (dict(embeddings=None), "embeddings must be floating"),
        (dict(embeddings=jnp.ones((4, 2), "float8_e4m3fn")), "of 16, 32 or 64 bits"),
        (dict(embeddings=np.ones((0, 2)), labels=np.zeros(0, int)), "has no rows"),
        (dict(labels=np.zeros(3, int)), r"labels must be integer \[4\]"),
        (dict(labels=np.zeros((4, 5), int)), r"or floating \[4, classes\], got int64"),
        (dict(labels=np.zeros(4)), "labels must be integer"),
        (dict(weights=np.ones(5)), r"weights must have shape \[4\]"),
        (dict(temperature=0.0), "temperature must be above 0"),
        (dict(temperature=np.ones(4)), "temperature must be a scalar"),
        (dict(k1=-1.0), "k1 must be at least 0"),
        (dict(k2=float("nan")), "k2 must be at least 0"),
        (dict(reduction="sum"), "reduction must be"),
        (dict(block_size=0), "block_size must be"),
        (dict(block_size="all"), "block_size must be"),
        (dict(block_size=True), "block_size must be"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    good = dict(embeddings=np.ones((4, 2)), labels=np.zeros(4, int))
    with pytest.raises(ValueError, match=message):
        losses.tcl_loss(**(good | arguments))


@pytest.mark.parametrize(("rows", "num_views"), [(5, 2), (4, 1), (4, 2.0), (4, "2"), (4, True), (4, None)])
def test_views_that_do_not_fit_are_named(rows, num_views):
    with pytest.raises(ValueError, match=f"num_views={num_views!r}"):
        losses.ntxent_loss(np.ones((rows, 2)), num_views=num_views)


UNIT = np.eye(4, 2) + np.eye(4, 2)[::-1]
SOFT = np.full((4, 2), 0.5)
GOOD_REFERENCES = (np.ones((3, 2)), np.zeros(3, int))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(labels=-SOFT), r"labels, floating \[n, classes\], must be at least 0"),
        (dict(labels=SOFT * np.nan), "labels, floating .* must be at least 0"),
        (dict(labels=np.ones((4, 2))), "divide rows of several ones by their length"),
        (
            dict(labels=SOFT[:3]),
            r"labels must be integer \[4\].* or floating \[4, classes\], got float64 \[3, 2\]",
        ),
        (dict(labels=SOFT[None]), "labels must be integer"),
        (dict(left_out=np.zeros(3, int)), r"left_out must be integer \[4\], .* got int64 \[3\]"),
        (dict(left_out=np.zeros(4)), r"left_out must be integer \[4\], .* got float64"),
        (dict(left_out=np.array([0, 1, 2, 2**40])), "left_out must fit in int32, got 1099511627776"),
        (dict(references=np.ones((3, 2))), "references must be .* got ndarray"),
        (dict(references=GOOD_REFERENCES[:1]), "references must be .* got tuple"),
        (
            dict(references=(np.ones((3, 2), int), np.zeros(3, int))),
            "the embeddings of references must be floating",
        ),
        (
            dict(references=(np.ones((3, 5)), np.zeros(3, int))),
            r"the embeddings of references have shape \[3, 5\]",
        ),
        (
            dict(references=(np.ones((3, 2)), np.zeros(2, int))),
            r"the labels of references must be integer \[3\]",
        ),
        (
            dict(references=(np.ones((3, 2)), SOFT[:3])),
            r"the labels of references have shape \[3, 2\], but labels have",
        ),
        (
            dict(labels=SOFT, references=(np.ones((3, 2)), np.full((3, 5), 0.1))),
            r"the labels of references have shape \[3, 5\]",
        ),
        (
            dict(references=(np.ones((3, 2)), np.array([0, 1, 2**40]))),
            "the labels of references must fit in int32",
        ),
        (dict(references=(*GOOD_REFERENCES, np.ones(2))), r"the weights of references must have shape \[3\]"),
        (dict(references=(*GOOD_REFERENCES, -np.ones(3))), "the weights of references must be at least 0"),
        (
            dict(references=losses.References(*GOOD_REFERENCES, left_out=np.zeros(3, int))),
            "left_out of references is given, but left_out is not",
        ),
        (
            dict(references=(np.ones((3, 2)), np.zeros(3, np.uint32)), labels=np.zeros(4, np.int32)),
            "labels are int32, but labels of references are uint32",
        ),
    ],
)
def test_bad_pairs_are_named(arguments, message):
    good = dict(embeddings=UNIT, labels=np.zeros(4, int))
    for loss in (losses.tcl_loss, losses.supcon_loss):
        with pytest.raises(ValueError, match=message):
            loss(**(good | arguments))


@pytest.mark.parametrize(
    "options", [dict(positives="both"), dict(denominator=None), dict(positives=["inside"])]
)
def test_unknown_variants_are_named(options):
    with pytest.raises(ValueError, match="is not a known loss, expected one of 'outside' with 'all', "):
        losses.supcon_loss(UNIT, np.zeros(4, int), **options)


def test_a_hardness_of_another_variant_is_refused():
    with pytest.raises(ValueError, match="hardness is for positives='outside' with denominator='all' alone"):
        losses.supcon_loss(UNIT, np.zeros(4, int), hardness=1.0, denominator="negatives")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(a=np.ones((4, 2), int)), "a must be floating"),
        (dict(b=np.ones(4)), "b must be floating"),
        (dict(b=np.ones((3, 2))), r"a and b must have the same shape, .* got \[4, 2\] and \[3, 2\]"),
        (dict(b=np.ones((4, 3))), "a and b must have the same shape"),
        (dict(labels=np.zeros(3, int)), r"labels must be integer \[4\]"),
        (dict(scale=0.0), "scale must be above 0"),
        (dict(scale=np.inf), "scale must be above 0 and finite"),
        (dict(weights=-np.ones(4)), "weights must be at least 0"),
        (dict(block_size=-1), "block_size must be"),
        (dict(reduction=None), "reduction must be"),
    ],
)
def test_bad_arguments_of_two_towers_are_named(arguments, message):
    for loss in (losses.clip_loss, losses.siglip_loss):
        with pytest.raises(ValueError, match=message):
            loss(**(dict(a=UNIT, b=UNIT) | arguments))


@pytest.mark.parametrize("bias", [np.nan, np.inf, -np.inf, "1", np.ones(2)])
def test_a_bias_that_is_not_a_finite_number_is_named(bias):
    with pytest.raises(ValueError, match="bias must be"):
        losses.siglip_loss(UNIT, UNIT, bias=bias)
