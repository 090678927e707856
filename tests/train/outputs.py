"""A batch with outputs of a model for it, and losses of a user's own, for the tests of objectives."""

import jax
import jax.numpy as jnp
import numpy as np

from tcl_jax.data import Batch
from tcl_jax.train.state import Hyper

IMAGES, HYPER = 16, Hyper(0.1, 0.2, 30.0, 1.5, 0)
RNG = np.random.default_rng(0)
BATCH = Batch(
    images=np.zeros((IMAGES, 8, 8, 1), np.uint8),
    labels=RNG.integers(0, 3, IMAGES).astype(np.int32),
    indices=RNG.permutation(1000)[:IMAGES].astype(np.int32),
    weights=np.ones(IMAGES, np.float32),
)


def unit_views(count):
    z = RNG.normal(size=(count, IMAGES, 5)).astype(np.float32)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def mean_of_pairs(rows, labels, temperature, num_views):
    """A loss of the whole batch that depends on the order of rows, on labels and on two settings."""
    assert rows.shape[0] == labels.shape[0] == num_views * IMAGES
    similarities = rows @ rows.T / temperature
    same = labels[:, None] == labels
    first = rows[: len(rows) // num_views] * jnp.arange(1, IMAGES + 1)[:, None]
    return jnp.mean(jnp.where(same, -similarities, similarities)) + jnp.mean(first**2)


def mean_over_devices(rows, labels, axis_name):
    return jax.lax.pmean(jnp.mean(rows[:, 0] * labels), axis_name)
