"""Encoder and head as one model."""

from functools import partial

import jax
import numpy as np

from tcl_jax.models import ContrastiveModel, ProjectionHead, ResNet

MODEL = ContrastiveModel(ResNet(depth=18, width=4), ProjectionHead(projection_dim=16))


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_calling_gives_unit_projections_and_encode_the_features_beneath_them(fill) -> None:
    images = random_images(3, 8, 8, 3)
    variables = fill(MODEL, images)
    projections, features = jax.jit(
        lambda v, x: (MODEL.apply(v, x, train=False), MODEL.apply(v, x, train=False, method="encode"))
    )(variables, images)
    assert projections.shape == (3, 16)
    assert features.shape == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(projections, axis=1), 1.0, atol=1e-6)
    head = MODEL.head.apply({"params": variables["params"]["head"]}, features)
    np.testing.assert_allclose(projections, head, atol=1e-6)


def test_variables_are_kept_by_part() -> None:
    variables = jax.eval_shape(partial(MODEL.init, train=False), jax.random.key(0), random_images(1, 8, 8, 3))
    assert set(variables) == {"params", "batch_stats"}
    assert set(variables["params"]) == {"encoder", "head"}
    assert set(variables["batch_stats"]) == {"encoder"}


def test_encode_uses_and_updates_batch_statistics_in_training(fill) -> None:
    images = random_images(3, 8, 8, 3)
    variables = fill(MODEL, images)
    apply = partial(MODEL.apply, method="encode", mutable=["batch_stats"])
    encode = jax.jit(apply, static_argnames="train")
    in_training, updated = encode(variables, images, train=True)
    frozen, _ = encode(variables, images, train=False)
    assert np.max(np.abs(in_training - frozen)) > 1e-2
    assert np.any(updated["batch_stats"]["encoder"]["bn1"]["mean"] != 0)
