import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tcl_jax.data import Split
from tcl_jax.models import ContrastiveModel, ProjectionHead


class PooledEncoder(nn.Module):
    """Features that can be worked out by hand: BatchNorm's running statistics and the mean over each row of pixels."""

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.BatchNorm(use_running_average=not train, name="bn1")(images)
        return jnp.mean(x, axis=2).reshape(len(x), -1)


class Frozen:
    """A model with its variables, and its features in NumPy."""

    mean, std = (0.4,), (0.2,)
    running_mean, running_var = 0.3, 4.0

    def __init__(self):
        self.model = ContrastiveModel(PooledEncoder(), ProjectionHead(4))
        variables = self.model.init(jax.random.key(0), jnp.zeros((1, 6, 6, 1)), train=False)
        statistics = {"mean": jnp.array([self.running_mean]), "var": jnp.array([self.running_var])}
        self.variables = {"params": variables["params"], "batch_stats": {"encoder": {"bn1": statistics}}}

    def features(self, images):
        return self.features_of_views((images / 255 - self.mean[0]) / self.std[0])

    def features_of_views(self, x):
        return np.mean((x - self.running_mean) / np.sqrt(self.running_var + 1e-5), axis=2).reshape(len(x), -1)


@pytest.fixture(scope="package")
def frozen():
    return Frozen()


@pytest.fixture(scope="package")
def split():
    """Images of three classes, noisy but different."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 110).astype(np.int32)
    prototypes = rng.integers(0, 256, (3, 6, 6, 1))
    images = 0.3 * prototypes[labels] + 0.7 * rng.integers(0, 256, (110, 6, 6, 1))
    return Split(images.astype(np.uint8), labels)
