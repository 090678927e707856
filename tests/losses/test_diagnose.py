"""Diagnostics against loops in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from tcl_jax import losses
from tests.losses import reference
from tests.losses.mappings import AXIS, DEVICES

pytestmark = pytest.mark.xdist_group("diagnose")  # they share what is compiled


def expected_figures(z, labels, weights, temperature, k1, k2):
    """The definitions in the docstring, anchor by anchor."""
    live = [i for i in range(len(z)) if weights[i] > 0]
    positive_pairs, negative_pairs, distances, potentials = [], [], [], []
    masses, shares = {"positive": [], "negative": []}, []
    for i in live:
        positives = [j for j in live if j != i and labels[j] == labels[i]]
        negatives = [j for j in live if labels[j] != labels[i]]
        s_p, s_n = z[positives] @ z[i], z[negatives] @ z[i]
        positive_pairs += list(s_p)
        negative_pairs += list(s_n)
        distances += [np.sum((z[i] - z[j]) ** 2) for j in positives]
        potentials += [np.exp(-2 * np.sum((z[i] - z[j]) ** 2)) for j in live if j != i]
        if not positives:
            continue

        # By finite differences of L_i in each similarity: nothing of the closed form is shared.
        def loss(s_p, s_n):
            denominator = np.sum(np.exp(s_p / temperature) + k1 * np.exp(-s_p))
            denominator += k2 * np.sum(np.exp(s_n / temperature))
            return np.log(denominator) - np.mean(s_p) / temperature

        step = 1e-6
        by_p = [(loss(s_p + e, s_n) - loss(s_p - e, s_n)) / (2 * step) for e in step * np.eye(len(s_p))]
        by_n = [(loss(s_p, s_n + e) - loss(s_p, s_n - e)) / (2 * step) for e in step * np.eye(len(s_n))]
        mass = np.sum(np.abs(by_p)) + np.sum(np.abs(by_n))
        hard_p = s_p < np.max(s_n, initial=-np.inf)
        hard_n = s_n > np.min(s_p)
        masses["positive"].append(np.sum(np.abs(by_p)[hard_p]) / mass)
        masses["negative"].append(np.sum(np.abs(by_n)[hard_n]) / mass)
        shares.append(weights[i])
    return dict(
        counted=len(shares) / len(live),
        positive_similarity=np.mean(positive_pairs),
        negative_similarity=np.mean(negative_pairs),
        hard_positive_mass=np.average(masses["positive"], weights=shares),
        hard_negative_mass=np.average(masses["negative"], weights=shares),
        alignment=np.mean(distances),
        uniformity=np.log(np.mean(potentials)),
        rank=rank_me(z[live]),
    )


def rank_me(z):
    """As in the paper, from NumPy's singular values in 64 bit."""
    singular = np.linalg.svd(np.asarray(z, np.float64), compute_uv=False)
    p = singular / np.sum(singular) + 1e-7
    return np.exp(-np.sum(p * np.log(p)))


@pytest.mark.parametrize("block_size", ["auto", None, 5])
@pytest.mark.parametrize("seed", range(3))
def test_diagnostics_are_those_of_the_definition(seed, block_size):
    z, labels, weights, coefficients = reference.random_case(seed)
    z = z * np.linspace(0.8, 1.2, len(z))[:, None]  # also where rows have not quite unit length
    expected = expected_figures(z, labels, weights, **coefficients)
    assert 0 < expected["hard_positive_mass"] < 1
    assert 0 < expected["hard_negative_mass"] < 1
    with jax.enable_x64(True):
        found = losses.diagnostics(
            jnp.asarray(z), labels, weights=weights, block_size=block_size, **coefficients
        )
    for name, value in found._asdict().items():
        assert float(value) == pytest.approx(expected[name], rel=1e-6), name


@pytest.mark.parametrize("block_size", ["auto", 3])
def test_eight_devices_give_the_diagnostics_of_the_whole_batch(block_size):
    z, labels, weights, coefficients = reference.random_case(7, n=32)
    mesh = jax.make_mesh((DEVICES,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))

    def local(z, labels, weights):
        return losses.diagnostics(
            z, labels, weights=weights, axis_name=AXIS, block_size=block_size, **coefficients
        )

    with jax.enable_x64(True):
        arguments = jnp.asarray(z), jnp.asarray(labels), jnp.asarray(weights)
        whole = losses.diagnostics(arguments[0], labels, weights=weights, **coefficients)
        split = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=P(AXIS), out_specs=P()))(*arguments)
    np.testing.assert_allclose(split, whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "weights"),
    [([0, 1, 2, 3], [1, 1, 1, 1]), ([0, 0, 0, 0], [1, 1, 1, 1]), ([0, 0, 1, 1], [0, 0, 0, 0]), ([5], [1])],
    ids=["all_distinct", "one_class", "no_live_row", "one_row"],
)
@pytest.mark.parametrize("k2", [0.0, 1.0])
def test_diagnostics_are_finite_whatever_pairs_are_missing(labels, weights, k2):
    z = jnp.asarray(np.concatenate([np.eye(4)[:2], -np.eye(4)[:2]])[: len(labels)], jnp.float32)
    found = losses.diagnostics(
        z, jnp.asarray(labels), weights=jnp.asarray(weights, jnp.float32), temperature=0.01, k2=k2
    )
    assert all(np.isfinite(x) for x in found)
    if sum(weights) == 0:
        assert not any(found)


@pytest.mark.parametrize("spread", [0, 1e-4, 1e-2, 1])
@pytest.mark.parametrize(("rows", "dimensions"), [(96, 24), (16, 48)])
def test_the_rank_in_float32_is_that_in_64_bit_down_to_projections_at_one_point(rows, dimensions, spread):
    rng = np.random.default_rng(rows)
    z = rng.normal(size=(1, dimensions)) + spread * rng.normal(size=(rows, dimensions))
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
    weights = rng.integers(0, 2, rows)
    found = losses.diagnostics(z, np.arange(rows) // 4, weights=weights.astype(np.float32)).rank
    assert float(found) == pytest.approx(rank_me(z[weights > 0]), rel=1e-4)
    assert (float(found) < 1.001) == (spread == 0)


def test_separated_classes_have_no_hard_pairs():
    z = jnp.asarray(np.repeat(np.eye(4), 3, axis=0))
    found = losses.diagnostics(z, jnp.repeat(jnp.arange(4), 3))
    assert (found.hard_positive_mass, found.hard_negative_mass, found.alignment) == (0, 0, 0)
    assert found.counted == found.positive_similarity == 1
    assert float(found.rank) == pytest.approx(4, rel=1e-5)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="temperature must be above 0"):
        losses.diagnostics(np.ones((4, 2)), np.zeros(4, int), temperature=0.0)
