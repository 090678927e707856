"""AutoAugment and RandAugment: what is drawn, how often, and what becomes of an image."""

import collections
import functools

import jax
import numpy as np
import pytest

from tcl_jax.augment import autoaugment
from tcl_jax.augment.autoaugment_ops import NAMES, magnitude_of, make_operation, signs_of
from tests.augment import pil
from tests.marks import slow

DRAWS = 20_000
KEYS = jax.random.split(jax.random.key(0), DRAWS)
POLICIES = {"cifar": autoaugment.CIFAR, "imagenet": autoaugment.IMAGENET}

# Of the tables as torchvision publishes them: for each operation the sum over the 25 sub-policies of its probabilities,
# and of these times its magnitude.
SUMS = {
    "cifar": {
        "AutoContrast": (5.0, 0),
        "Brightness": (2.3, 16.2),
        "Color": (2.9, 15.8),
        "Contrast": (0.8, 5.4),
        "Equalize": (4.7, 0),
        "Invert": (0.2, 0),
        "Posterize": (0.3, 2.1),
        "Rotate": (0.7, 1.4),
        "Sharpness": (2.8, 10.4),
        "ShearY": (0.7, 5.4),
        "Solarize": (1.9, 7.0),
        "TranslateX": (0.8, 6.7),
        "TranslateY": (3.4, 28.2),
    },
    "imagenet": {
        "AutoContrast": (1.2, 0),
        "Color": (3.8, 13.2),
        "Contrast": (2.0, 16.0),
        "Equalize": (11.2, 0),
        "Invert": (1.8, 0),
        "Posterize": (2.8, 17.4),
        "Rotate": (3.6, 28.8),
        "Sharpness": (0.4, 2.8),
        "ShearX": (0.6, 3.0),
        "Solarize": (3.6, 19.8),
    },
}


def name_of(operation):
    """The numbers of an operation, which identify it."""
    return tuple(np.concatenate([np.ravel(array) for array in operation]).tolist())


def drawn_names(draw, keys):
    """For each key the operations drawn, in their order."""
    arrays = [np.asarray(array) for array in jax.jit(jax.vmap(draw))(keys)]
    flat = np.concatenate([a.reshape(*a.shape[:2], -1).astype(np.float64) for a in arrays], axis=-1)
    return [tuple(tuple(row) for row in rows) for rows in flat.tolist()]


def outcomes(sub_policies):
    """The probability of every pair of operations, each (name, magnitude), that the sub-policies can lead to."""
    chances = collections.Counter()
    for pair in sub_policies:
        sides = []
        for name, probability, number in pair:
            magnitude = magnitude_of(name, number, 10, 32, 32)
            side = [(("Identity", 0), 1 - probability)]
            side += [((name, sign * magnitude), probability / 2) for sign in signs_of(name)]
            sides.append(side)
        for first, p in sides[0]:
            for second, q in sides[1]:
                chances[first, second] += p * q / len(sub_policies)
    return chances


def assert_as_often(found, chances):
    """Every count within five standard deviations of the binomial distribution, and a few more where it is rare."""
    assert set(found) <= {name for name, p in chances.items() if p > 0}
    for name, p in chances.items():
        assert abs(found[name] - DRAWS * p) <= 5 * np.sqrt(DRAWS * p * (1 - p)) + 3 * (p > 0), name


@pytest.mark.parametrize("policy", POLICIES)
def test_sub_policies_are_drawn_and_applied_as_their_probabilities_say(policy):
    sub_policies = POLICIES[policy]
    draw = functools.partial(autoaugment.draw_sub_policy, sub_policies=sub_policies, height=32, width=32)
    chances = collections.Counter()
    for pair, p in outcomes(sub_policies).items():
        chances[tuple(name_of(make_operation(*side, 32, 32)) for side in pair)] += p
    assert abs(sum(chances.values()) - 1) < 1e-12
    found = collections.Counter(drawn_names(draw, KEYS))
    assert_as_often(found, chances)
    # Each operation in each place, with all its magnitudes and signs together.
    for place in (0, 1):
        names, expected = collections.Counter(), collections.Counter()
        for pair, count in found.items():
            names[pair[place]] += count
        for pair, p in chances.items():
            expected[pair[place]] += p
        assert_as_often(names, expected)


def test_each_line_is_equally_likely():
    # Lines that differ in the magnitudes of both operations, so that a draw names its line.
    lines = tuple((("Color", 1.0, k % 5), ("Brightness", 1.0, k // 5)) for k in range(25))
    draw = functools.partial(autoaugment.draw_sub_policy, sub_policies=lines, height=8, width=8)
    factors = np.asarray(jax.jit(jax.vmap(draw))(KEYS).factor)
    numbers = np.round(np.abs(factors - 1) * 10).astype(int)
    counts = np.bincount(numbers[:, 0] + 5 * numbers[:, 1], minlength=25)
    np.testing.assert_allclose(counts / DRAWS, 1 / 25, atol=5 * np.sqrt(1 / 25 / DRAWS))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_tables_are_the_published_ones(policy):
    lines = POLICIES[policy]
    assert len(lines) == 25
    assert all(len(line) == 2 for line in lines)
    sums = collections.defaultdict(lambda: np.zeros(2))
    for name, probability, number in (operation for line in lines for operation in line):
        sums[name] += probability, probability * number
    assert set(sums) == set(SUMS[policy])
    for name, expected in SUMS[policy].items():
        np.testing.assert_allclose(sums[name], expected, atol=1e-9, err_msg=name)


def test_randaug_draws_every_operation_and_sign_equally_often():
    draw = functools.partial(autoaugment.draw_operations, count=2, magnitude=9, height=32, width=32)
    names = [name for name in NAMES if name != "Invert"]
    chances = collections.Counter()
    for name in names:
        for sign in signs_of(name):
            operation = make_operation(name, sign * magnitude_of(name, 9, 31, 32, 32), 32, 32)
            chances[name_of(operation)] += 1 / 28
    pairs = drawn_names(draw, KEYS)
    for place in (0, 1):
        assert_as_often(collections.Counter(pair[place] for pair in pairs), chances)
    together = {(a, b): p * q for a, p in chances.items() for b, q in chances.items()}
    assert_as_often(collections.Counter(pairs), together)


def known(bins, numbers, h, w):
    """Names and magnitudes of all operations, by the numbers that identify them."""
    table = {}
    for name in NAMES:
        for number in numbers:
            for sign in signs_of(name):
                magnitude = sign * magnitude_of(name, number, bins, h, w)
                table[name_of(make_operation(name, magnitude, h, w))] = name, magnitude
    return table


# The operations of each are tested in all shapes: tests/augment/test_autoaugment_ops.py.
@pytest.mark.parametrize(
    ("policy", "shape"),
    [
        *zip(["imagenet", "randaug", "cifar"], pil.SHAPES, strict=True),
        *slow(*(("cifar", shape) for shape in pil.SHAPES[:2])),
    ],
)
def test_views_are_what_pil_makes_of_the_same_draws(policy, shape):
    batch, keys, (h, w, _) = pil.images(shape), KEYS[:200], shape
    if policy == "randaug":
        table = known(31, [12], h, w)
        draw = functools.partial(autoaugment.draw_operations, count=3, magnitude=12, height=h, width=w)
        augment = functools.partial(autoaugment.rand_augment, count=3, magnitude=12)
    else:
        table = known(10, range(10), h, w)
        lines = POLICIES[policy]
        draw = functools.partial(autoaugment.draw_sub_policy, sub_policies=lines, height=h, width=w)
        augment = functools.partial(autoaugment.auto_augment, sub_policies=lines)
    drawn = [[table[name] for name in row] for row in drawn_names(draw, keys)]

    def in_turn(image, row):
        return functools.reduce(lambda image, pair: pil.apply(image, *pair), row, image)

    results = np.asarray(jax.jit(jax.vmap(augment))(keys, batch))
    pil.within_one(results, pil.through_pil(in_turn, batch, drawn))
