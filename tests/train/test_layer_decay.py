"""Learning rates by layer, against an optimizer for each layer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tcl_jax.errors import UserError
from tcl_jax.models import make_model, model_shapes
from tcl_jax.parallel import split_batch
from tcl_jax.train.layer_decay import scale_by_layer
from tcl_jax.train.optimizer import make_optimizer
from tests.marks import slow
from tests.train.small import HYPER, batch, largest_difference, parts_on
from tests.train.test_optimizer import ALL_KINDS, random_tree


def random_encoder(seed):
    """Parameters of a stem, two blocks of which one is within another module, a last norm, and a head."""
    encoder = {name: random_tree(seed + i) for i, name in enumerate(("stem", "block_1", "block_10", "norm"))}
    encoder |= {"backbone": {"block_2": random_tree(seed + 7)}, "token": jnp.full((1, 3), 0.5)}
    return {"encoder": encoder, "head": random_tree(seed + 8)}


LAYERS = (("stem", "token"), ("block_1",), ("backbone/block_2",))
# 0.5^(3 - i) for layer i of these 3; "block_10" begins as "block_1" does.
SCALES = {"stem": 0.125, "token": 0.125, "block_1": 0.25, "backbone": 0.5, "block_10": 1.0, "norm": 1.0}


@pytest.mark.parametrize("name", [ALL_KINDS[0], *slow(*ALL_KINDS[1:])])
def test_the_rate_of_a_layer_falls_with_its_distance_from_the_head(name):
    """Each layer steps as an optimizer of its own at its rate, weight decay included, as in BEiT's code."""
    options = {"momentum": 0.8, "weight_decay": 0.05, "decay": "all"}
    optimizer = make_optimizer(name, **options, layer_decay=0.5, layer_names=LAYERS)
    plain = make_optimizer(name, **options)
    params = random_encoder(0)
    state, step, plain_step = optimizer.init(params), jax.jit(optimizer.step), jax.jit(plain.step)
    scales = {"head": 1.0} | SCALES
    alone = {layer: (params["encoder"] | params)[layer] for layer in scales}
    states = {layer: plain.init(tree) for layer, tree in alone.items()}
    for number, rate in enumerate((0.1, 0.02, 0.3)):
        gradients = random_encoder(20 * number + 20)
        params, state = step(gradients, state, params, np.float32(rate))
        for layer, scale in scales.items():
            gradient = (gradients["encoder"] | gradients)[layer]
            alone[layer], states[layer] = plain_step(
                gradient, states[layer], alone[layer], np.float32(rate * scale)
            )
    for layer in scales:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            (params["encoder"] | params)[layer],
            alone[layer],
        )


def test_the_layers_of_a_resnet_are_its_stem_and_blocks_and_all_of_it():
    for depth, blocks in ((18, 8), (50, 16)):
        model = make_model(f"resnet{depth}", stem="cifar", width=2, projection_dim=2)
        params = model_shapes(model, (8, 8, 1))["params"]["encoder"]
        names = model.encoder.layer_names
        assert len(names) == 1 + blocks
        assert names[0] == ("conv1", "bn1")
        assert sorted(name for layer in names for name in layer) == sorted(params)
        assert list(names[1:]) == sorted(names[1:])  # stage by stage, block by block


@pytest.mark.parametrize(
    ("name", "blocks", "rest"),
    [
        ("vit_tiny", 12, {"norm"}),
        ("vit_tiny_gap", 12, {"norm"}),
        ("convnext_atto", 12, {"head_norm"}),
        ("convnext_tiny", 18, {"head_norm"}),
    ],
)
def test_the_layers_of_vit_and_convnext_are_all_but_the_last_norm(name, blocks, rest):
    model = make_model(name, stem="cifar", width=2, projection_dim=2)
    params = model_shapes(model, (16, 16, 3))["params"]["encoder"]
    first, *others = model.encoder.layer_names
    listed = [part for layer in (first, *others) for part in layer]
    assert len(others) == blocks
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(params) - rest
    assert all("block" in layer[0] for layer in others)
    # A stage is made smaller where it begins.
    downsamples = {layer[0]: layer[1:] for layer in others if len(layer) > 1}
    assert all(block.endswith("_blocks_0") for block in downsamples)
    assert all(part.startswith(block[:8]) for block, parts in downsamples.items() for part in parts)


@pytest.mark.parametrize(
    ("layer_names", "message"),
    [
        (None, "has no attribute 'layer_names': give it an attribute 'layer_names'"),
        (("stem", "block_1"), "has 'layer_names' that are not tuples of names"),
        ("stem", "has 'layer_names' that are not tuples of names"),
        ((("stem",), ("block_3",)), "has no 'block_3' of its 'layer_names'"),
        ((("stem",), ("block_",)), "has no 'block_' of its 'layer_names'"),
    ],
)
def test_layers_that_are_not_known_are_refused(layer_names, message):
    options = {"momentum": 0.8, "weight_decay": 0.05, "decay": "all", "layer_names": layer_names}
    params = jax.eval_shape(lambda: random_encoder(0))
    make_optimizer("sgd", **options).init(random_encoder(0))  # they do not matter where all have one rate
    with pytest.raises(UserError, match=f"^train.layer_decay is 0.5, but .* {message}") as caught:
        jax.eval_shape(make_optimizer("sgd", **options, layer_decay=0.5).init, params)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_KINDS)
def test_a_classifier_trained_along_has_the_rate_of_the_head(name):
    """Its parameters are a tree of their own, in which no encoder is."""
    options = {"momentum": 0.8, "weight_decay": 0.05, "decay": "all"}
    params, gradients = random_encoder(0)["head"], random_encoder(1)["head"]
    after = []
    for scaled in ({}, {"layer_decay": 0.5, "layer_names": LAYERS}):
        optimizer = make_optimizer(name, **options, **scaled)
        after.append(optimizer.step(gradients, optimizer.init(params), params, np.float32(0.1))[0])
    jax.tree.map(np.testing.assert_array_equal, *after)


def test_a_state_has_nothing_more_where_neither_is_set():
    options = {"momentum": 0.8, "weight_decay": 0.05, "decay": "all"}
    params = random_encoder(0)
    for name in ALL_KINDS:
        plain = make_optimizer(name, **options).init(params)
        off = make_optimizer(name, **options, clip_norm=0.0, layer_decay=1.0, layer_names=LAYERS).init(params)
        assert jax.tree.structure(off) == jax.tree.structure(plain)


@pytest.mark.slow
def test_clipping_and_rates_by_layer_are_the_same_on_eight_devices_as_on_one():
    found = {}
    for devices in (1, 8):
        parts = parts_on(devices, clip_norm=0.01, layer_decay=0.5)
        state, after = parts.initial_state(), []
        begin = jax.device_get(state.params)
        for number in range(3):
            state, metrics = parts.step(state, split_batch(batch(number), parts.mesh), HYPER)
            after.append(jax.device_get((state.params, metrics["loss"])))
        found[devices] = after
    assert largest_difference(found[1], found[8]) < 1e-5
    # The first step without rate, layers and decay is along a gradient of the norm that is asked for.
    scales = {"encoder": {"conv1": 0.25, "bn1": 0.25, "conv2": 0.5}, "head": {"linear1": 1.0, "linear2": 1.0}}
    rate, square = float(HYPER.learning_rate), 0.0
    for part, layers in scales.items():
        for layer, scale in layers.items():
            old, new = begin[part][layer], found[1][0][0][part][layer]
            for name in old:
                gradient = (old[name] - new[name]) / (rate * scale) - 1e-3 * old[name]
                square += float(np.sum(np.square(gradient, dtype=np.float64)))
    assert np.sqrt(square) == pytest.approx(0.01, rel=1e-3)


def test_of_two_names_that_hold_a_parameter_the_longer_one_counts():
    params = {"encoder": {"a": {"b": jnp.ones(2), "c": jnp.ones(2)}}}
    scaled, _ = scale_by_layer(0.5, (("a/b",), ("a",))).update(params, optax.EmptyState())
    np.testing.assert_array_equal(scaled["encoder"]["a"]["b"], [0.25, 0.25])
    np.testing.assert_array_equal(scaled["encoder"]["a"]["c"], [0.5, 0.5])
