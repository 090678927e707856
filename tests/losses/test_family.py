"""Every member of the family is its formula: values and all derivatives, at any tile size, on any number of devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcl_jax.losses.arguments import as_split
from tests.losses import formulas
from tests.losses.formulas import MEMBERS, OF_TOWERS, SITUATIONS
from tests.losses.mappings import AXIS, MAPPINGS, gradient_over_devices
from tests.losses.reference import relative_error
from tests.marks import slow

pytestmark = pytest.mark.xdist_group("family")  # they share what is compiled

# The engine finds pairs, makes tiles and exchanges rows in one way for all members: two are tried in every situation
# and under every mapping, the others where most comes together. Plain classes are in `test_every_row_by_itself`.
THOROUGHLY = {"tcl": SITUATIONS, "clip": OF_TOWERS}
OTHERS = [name for name in MEMBERS if name not in THOROUGHLY]
CASES = [
    *((name, situation) for name, situations in THOROUGHLY.items() for situation in situations),
    *((name, "references" if MEMBERS[name].towers == 1 else "pairs") for name in OTHERS),
    *slow(*((name, "soft_references" if MEMBERS[name].towers == 1 else "soft") for name in OTHERS)),
]
IN_PARALLEL = [
    *((name, MAPPINGS[0]) for name in THOROUGHLY),
    *slow(*((name, mapping) for name in THOROUGHLY for mapping in MAPPINGS[1:])),
    *slow(*((name, MAPPINGS[0]) for name in OTHERS)),
]


def call(member, rows, coefficients, **options):
    more = {} if member.towers == 2 else dict(left_out=rows.left_out, references=rows.references)
    return member.loss(
        *rows.embeddings,
        labels=rows.labels,
        weights=rows.weights,
        **more,
        **coefficients,
        **member.options,
        **options,
    )


@functools.partial(jax.jit, static_argnames=("name", "block_size", "reduction"))
def value_and_gradients(name, rows, coefficients, *, block_size, reduction="mean"):
    """The loss and its gradients, or for "none" those of a sum with factors of its own for every row."""

    def loss(embeddings, weights, coefficients):
        moved = rows._replace(embeddings=embeddings, weights=weights)
        values = call(MEMBERS[name], moved, coefficients, block_size=block_size, reduction=reduction)
        total = jnp.sum(jnp.cos(jnp.arange(values.size, dtype=values.dtype)) * values.reshape(-1))
        return total, values

    of_all = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    (_, values), gradients = of_all(rows.embeddings, rows.weights, coefficients)
    return values, gradients


def arrays(tree, dtype=jnp.float64):
    return jax.tree.map(
        lambda x: jnp.asarray(x, dtype if np.issubdtype(np.asarray(x).dtype, np.floating) else None), tree
    )


@functools.cache
def expected(name, situation):
    member = MEMBERS[name]
    rows = formulas.random_rows(situation, towers=member.towers)
    value = formulas.mean_loss(member, rows, member.coefficients)
    return rows, value, formulas.derivatives(member, rows, member.coefficients)


@pytest.mark.parametrize(("name", "situation"), CASES)
def test_member_is_its_formula(name, situation):
    rows, value, (by_embeddings, by_weights, by_coefficients) = expected(name, situation)
    # 7: four blocks of rows, with padding; the other situations of the dense form add nothing.
    for block_size in (7, None) if situation in ("references", "pairs") else (7,):
        with jax.enable_x64(True):
            found, gradients = value_and_gradients(
                name, arrays(rows), arrays(MEMBERS[name].coefficients), block_size=block_size
            )
        assert float(found) == pytest.approx(value, rel=1e-13)
        for actual, derivative in zip(gradients[0], by_embeddings, strict=True):
            assert relative_error(actual, derivative) <= 1e-12
        assert relative_error(gradients[1], by_weights) <= 1e-12
        for coefficient, derivative in by_coefficients.items():
            right = 0.0 if coefficient == "hardness" else float(derivative)
            assert float(gradients[2][coefficient]) == pytest.approx(right, rel=1e-10), coefficient


@pytest.mark.parametrize("name", [*THOROUGHLY, *slow(*OTHERS)])
def test_every_row_by_itself(name):
    member = MEMBERS[name]
    rows = formulas.random_rows("classes", towers=member.towers)
    values, _ = formulas.anchor_losses(member, rows, member.coefficients)
    with jax.enable_x64(True):
        found, (by_rows, _, _) = value_and_gradients(
            name, arrays(rows), arrays(member.coefficients), block_size=7, reduction="none"
        )
        factors = np.cos(np.arange(len(values)))
        direction = np.random.default_rng(0).normal(size=by_rows[0].shape)
        moved = rows._replace(
            embeddings=formulas._put(rows.embeddings, 0, rows.embeddings[0] + 1e-30j * direction, member)
        )
    np.testing.assert_allclose(found, values, rtol=1e-12, atol=1e-14)
    along = np.imag(np.sum(factors * formulas.anchor_losses(member, moved, member.coefficients)[0])) / 1e-30
    assert np.sum(np.asarray(by_rows[0]) * direction) == pytest.approx(float(along), rel=1e-10)


@pytest.mark.parametrize(("name", "mapping"), IN_PARALLEL)
def test_eight_devices_are_one(name, mapping):
    member = MEMBERS[name]
    rows, value, (by_embeddings, _, by_coefficients) = expected(
        name, "references" if member.towers == 1 else "classes"
    )
    given = [*rows.embeddings, rows.labels, rows.weights]
    if member.towers == 1:
        given += [rows.left_out, *rows.references]

    def loss(coefficients, *given):
        embeddings, (labels, weights, *more) = given[: member.towers], given[member.towers :]
        left_out, references = (more[0], tuple(more[1:])) if more else (None, None)
        mine = formulas.Rows(embeddings, labels, weights, left_out, references)
        return call(member, mine, coefficients, axis_name=AXIS, block_size=2)

    with jax.enable_x64(True):
        found, by_shared, by_first = gradient_over_devices(mapping, loss)(
            arrays(member.coefficients), *arrays(given)
        )
    assert float(found) == pytest.approx(value, rel=1e-12)
    assert relative_error(by_first, by_embeddings[0]) <= 1e-11
    for coefficient, derivative in by_coefficients.items():
        right = 0.0 if coefficient == "hardness" else float(derivative)
        assert float(by_shared[coefficient]) == pytest.approx(right, rel=1e-10), coefficient


@pytest.mark.parametrize("name", [*THOROUGHLY, *slow(*OTHERS)])
def test_sixteen_bits_are_computed_in_thirty_two(name):
    member = MEMBERS[name]
    situation = "references" if member.towers == 1 else "classes"
    rows = formulas.random_rows(situation, towers=member.towers)
    rounded = tuple(jnp.asarray(z, jnp.bfloat16) for z in rows.embeddings)
    exact = rows._replace(embeddings=tuple(np.asarray(z, np.float64) for z in rounded))
    value = formulas.mean_loss(member, exact, member.coefficients)
    by_embeddings, _, _ = formulas.derivatives(member, exact, member.coefficients)
    mine = arrays(rows, jnp.float32)._replace(embeddings=rounded)
    found, gradients = value_and_gradients(name, mine, arrays(member.coefficients, jnp.float32), block_size=7)
    assert found.dtype == jnp.float32
    assert float(found) == pytest.approx(value, rel=2e-6)
    for actual, derivative in zip(gradients[0], by_embeddings, strict=True):
        assert actual.dtype == jnp.bfloat16
        assert relative_error(actual, derivative) <= 5e-3


COORDINATES = np.eye(8)
EXTREMES = {
    "identical": np.tile(COORDINATES[:1], (8, 1)),
    "antipodal": np.tile(COORDINATES[:1], (8, 1)) * np.resize([1.0, -1.0], (8, 1)),
    "orthogonal": COORDINATES,
}
LABELS = ([0] * 8, [0, 0, 0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 2, 2, 3, 4], list(range(8)))


@pytest.mark.parametrize(
    ("name", "block_size"),
    [
        *((name, 3) for name in THOROUGHLY),
        *slow(*((name, None) for name in THOROUGHLY), *((name, 3) for name in OTHERS)),
    ],
)
def test_extremes_stay_finite_in_float32(name, block_size):
    """At temperature 0.01: one class, no positives, all but one left out, no live row, none of the references live."""
    member = MEMBERS[name]
    coefficients = arrays(
        {"temperature": 0.01, "scale": 100.0, "k1": 1e6, "k2": 0.0, "bias": -10.0, "hardness": 2.0},
        jnp.float32,
    )
    coefficients = {key: coefficients[key] for key in member.coefficients}
    for z in EXTREMES.values():
        for labels in LABELS:
            for weights in (np.ones(8), np.array([1.0, 0, 1, 1, 1, 0, 1, 1]), np.zeros(8)):
                rows = formulas.Rows((z,) * member.towers, np.array(labels), weights)
                if member.towers == 1:
                    references = z[::-1], np.array(labels), weights * (labels[-1] == 1)
                    rows = rows._replace(left_out=np.zeros(8, int) - (weights[1] == 0), references=references)
                value, gradients = value_and_gradients(
                    name, arrays(rows, jnp.float32), coefficients, block_size=block_size
                )
                assert np.isfinite(value)
                assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradients))
                exact = {key: float(value) for key, value in coefficients.items()}
                with np.errstate(all="ignore"):
                    right = formulas.mean_loss(member, rows, exact)
                if np.isfinite(right):
                    assert float(value) == pytest.approx(float(right), rel=2e-6, abs=3e-5)


@pytest.mark.slow
def test_one_hot_labels_are_class_numbers():
    member = MEMBERS["tcl"]
    rows = arrays(formulas.random_rows("references"), jnp.float32)
    z, theirs, *more = rows.references
    hot = rows._replace(
        labels=jax.nn.one_hot(rows.labels, 8), references=(z, jax.nn.one_hot(theirs, 8), *more)
    )
    coefficients = arrays(member.coefficients, jnp.float32)
    numbers, one_hot = (value_and_gradients("tcl", x, coefficients, block_size=7) for x in (rows, hot))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), numbers, one_hot)


def test_equal_multi_hot_rows_of_unit_length_are_not_negatives():
    """1 - y . y is not 0 in float32, and exp(s / t) is e^100."""
    y = np.tile(np.array([1.0, 1.0, 1.0]) / np.sqrt(3), (4, 1))
    assert np.any(np.asarray(y, np.float32) @ np.asarray(y, np.float32).T != 1)
    z = np.tile([[1.0, 0.0]], (4, 1))
    rows = formulas.Rows((z,), np.concatenate([y[:3], [[0.0, 0.0, 0.0]]]), np.ones(4))
    rows = arrays(rows._replace(embeddings=(np.concatenate([z[:3], [[0.0, 1.0]]]),)), jnp.float32)
    value, _ = value_and_gradients(
        "decoupled", rows, arrays({"temperature": 0.01}, jnp.float32), block_size=None
    )
    assert float(value) == pytest.approx(np.log(1.0) - 100.0, rel=1e-5)  # the one negative is orthogonal


def test_references_of_no_rows_are_none():
    member = MEMBERS["tcl"]
    rows = arrays(formulas.random_rows("classes"), jnp.float32)
    none = call(member, rows, member.coefficients)
    empty = call(member, rows._replace(references=(np.zeros((0, 5)), np.zeros(0, int))), member.coefficients)
    assert float(none) == float(empty)


def test_no_derivative_by_references_and_soft_labels():
    rows = arrays(formulas.random_rows("soft_references"), jnp.float32)

    def loss(references, labels):
        moved = rows._replace(references=(references, *rows.references[1:]), labels=labels)
        return call(MEMBERS["tcl"], moved, MEMBERS["tcl"].coefficients)

    by_references, by_labels = jax.grad(loss, argnums=(0, 1))(rows.references[0], rows.labels)
    assert not np.any(by_references)
    assert not np.any(by_labels)


MEGABYTE = 2**20


@functools.cache
def memory(name, situation, n):
    """Bytes that the compiled gradient needs beside its arguments; nothing is run."""
    member, d, classes = MEMBERS[name], 32, 16

    def shape(*sizes, dtype=jnp.float32):
        return jax.ShapeDtypeStruct(sizes, dtype)

    labels = shape(n, classes) if situation == "soft" else shape(n, dtype=jnp.int32)
    rows = formulas.Rows((shape(n, d),) * member.towers, labels, shape(n))
    if situation == "references":
        rows = rows._replace(
            left_out=shape(n, dtype=jnp.int32), references=(shape(n, d), shape(n, dtype=jnp.int32), shape(n))
        )
    coefficients = jax.tree.map(lambda _: shape(), member.coefficients)
    analysis = (
        value_and_gradients.lower(name, rows, coefficients, block_size="auto").compile().memory_analysis()
    )
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


@pytest.mark.parametrize(
    ("name", "situation"),
    [
        *((name, "classes") for name in THOROUGHLY),
        *slow(*((name, "classes") for name in OTHERS if name != "supcon")),
        *slow(("tcl", "references"), ("clip", "soft"), ("tcl", "soft"), ("one_positive", "soft")),
    ],
)
def test_memory_is_that_of_the_rows(name, situation):
    # The rows of a few passes, soft labels, some numbers, and a tile or two; n x n would be 4,096 MB.
    assert memory(name, situation, 32768) < 60 * MEGABYTE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "situation"),
    [
        ("tcl", "classes"),
        ("hard_negatives", "classes"),
        ("tcl", "soft"),
        ("clip", "classes"),
        ("clip", "soft"),
    ],
)
def test_memory_of_all_pairs_at_once_stays_small_under_auto(name, situation):
    kind = dict(two_towers=MEMBERS[name].towers == 2, soft_labels=situation == "soft")
    at_once = [
        n for n in range(500, 1500) if as_split(None, "auto", n, n, np.float32, **kind).block_size is None
    ]
    assert 25 * MEGABYTE < memory(name, situation, at_once[-1]) < 35 * MEGABYTE
