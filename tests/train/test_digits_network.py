"""The network of the demo in float32: one gradient on one device and on eight."""

import jax
import numpy as np
import pytest

from configs import digits_tcl
from tcl_jax.data import train_batches
from tcl_jax.experiment import build as experiment
from tcl_jax.parallel import make_mesh, split_batch


def momentum_and_loss_of_first_step(devices, data_dir, monkeypatch):
    monkeypatch.setattr(experiment, "make_mesh", lambda: make_mesh(devices))
    config = digits_tcl.get_config()
    config.data.data_dir = str(data_dir)
    parts = experiment.build_experiment(config)
    batch = next(train_batches(parts.dataset.train, 64, seed=0, epoch=0))
    state = parts.program.initial_state(0)
    state, metrics = parts.program.step(state, split_batch(batch, parts.mesh), parts.settings.hyper)
    return jax.tree.map(np.array, state.opt_state[1].trace), float(metrics["loss"])


@pytest.mark.slow
def test_gradient_on_eight_devices_is_that_on_one(monkeypatch, tmp_path):
    # Deeper and wider networks go beyond this bound in float32: a ReLU whose input is nearly 0 flips.
    one, eight = (momentum_and_loss_of_first_step(devices, tmp_path, monkeypatch) for devices in (1, 8))
    difference = max(
        np.max(np.abs(a - b)) for a, b in zip(*map(jax.tree.leaves, (one[0], eight[0])), strict=True)
    )
    assert difference / max(np.max(np.abs(a)) for a in jax.tree.leaves(one[0])) <= 1e-5
    assert abs(one[1] - eight[1]) <= 1e-6 * abs(one[1])
