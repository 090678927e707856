"""Features of the frozen encoder against NumPy, for every example and on any number of devices."""

import numpy as np
import pytest

from tcl_jax.evaluate import extract_features
from tcl_jax.parallel import make_mesh


@pytest.mark.parametrize("devices", [1, 8])
def test_every_example_once_in_order_with_the_running_statistics(frozen, split, devices):
    features = extract_features(
        frozen.model,
        frozen.variables,
        split,
        mean=frozen.mean,
        std=frozen.std,
        batch_size=32,  # 110 examples: the last batch is padded
        mesh=make_mesh(devices),
    )
    assert features.shape == (110, 6)
    np.testing.assert_allclose(features, frozen.features(split.images), rtol=1e-4, atol=1e-5)
