"""Features of the frozen encoder against NumPy, for every example and on any number of devices."""

import numpy as np
import pytest

from tcl_jax.evaluate import extract_features
from tcl_jax.models import make_encode
from tcl_jax.parallel import make_mesh


@pytest.mark.parametrize("devices", [1, 8])
def test_every_example_once_in_order_with_the_running_statistics(frozen, split, devices):
    mesh = make_mesh(devices)
    encode = make_encode(frozen.model, mean=frozen.mean, std=frozen.std, mesh=mesh)
    # 110 examples in batches of 32: the last is padded.
    features = extract_features(encode, frozen.variables, split, batch_size=32, mesh=mesh)
    assert features.shape == (110, 6)
    np.testing.assert_allclose(features, frozen.features(split.images), rtol=1e-4, atol=1e-5)
