"""Dropout's masks follow from the example and its view, not from the batch around it or the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from tcl_jax.models.dropout import dropout_by_row, row_keys
from tcl_jax.parallel import DATA_AXIS, make_mesh

INDICES = np.array([5, 3, 11, 8, 2, 7, 1, 30], np.int32)
KEY = jax.random.key(4)


class Two(nn.Module):
    """Two layers, of which the second has one mask for all pixels of a channel."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dropout(0.25, broadcast_dims=(1,))(x, deterministic=not train)


def masks(indices, views=2, key=KEY, devices=1):
    """What is left of ones: [views, indices, 6, 5]."""
    model = Two()

    def on_device(indices):
        x = jnp.ones((views * len(indices), 6, 5))
        with dropout_by_row(row_keys(key, indices, views)):
            out = model.apply({}, x, train=True, rngs={"dropout": key})
        return out.reshape(views, len(indices), 6, 5)

    mesh = make_mesh(devices)
    mapped = jax.shard_map(on_device, mesh=mesh, in_specs=P(DATA_AXIS), out_specs=P(None, DATA_AXIS))
    return np.asarray(jax.jit(mapped)(jnp.asarray(indices)))


def test_a_row_has_its_masks_in_any_batch_and_on_any_number_of_devices():
    whole = masks(INDICES)
    np.testing.assert_array_equal(masks(INDICES, devices=8), whole)
    order = np.random.default_rng(0).permutation(8)
    np.testing.assert_array_equal(masks(INDICES[order]), whole[:, order])
    np.testing.assert_array_equal(masks(INDICES[2:4]), whole[:, 2:4])


@pytest.mark.slow
def test_examples_views_layers_and_keys_have_masks_of_their_own():
    whole = masks(np.arange(64))
    rows = whole.reshape(128, -1)
    assert len({row.tobytes() for row in rows}) == 128
    assert not np.array_equal(masks(np.arange(64), key=jax.random.key(5)), whole)
    kept = whole != 0
    # Kept by both: half of the numbers by the first, three quarters of the channels by the second.
    assert kept.mean() == pytest.approx(0.5 * 0.75, abs=0.02)
    assert kept.any(axis=2).mean() == pytest.approx(0.75, abs=0.05)
    np.testing.assert_allclose(whole[kept], 1 / (0.5 * 0.75), rtol=1e-6)


def test_without_training_nothing_is_dropped():
    x = jnp.ones((4, 6, 5))
    with dropout_by_row(row_keys(KEY, jnp.arange(4), 1)):
        np.testing.assert_array_equal(Two().apply({}, x, train=False), x)
