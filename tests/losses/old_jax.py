"""Names of today's JAX that the tests of the losses use, on the oldest JAX that the losses run on: a plugin of pytest.

`make test-old-jax` runs it. The losses themselves need nothing of this.
"""

import os
import types

import jax


def pytest_configure(config):
    config.addinivalue_line("markers", "xdist_group(name): tests of one process")


def pytest_collection_modifyitems(config, items):
    """Autodiff sums gradients over the devices of a checked shard_map on newer versions only."""
    kept, left_out = [], []
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        (left_out if params.get("mapping") == "shard_map" else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


if not hasattr(jax, "shard_map"):
    from jax.experimental import enable_x64
    from jax.experimental.shard_map import shard_map as old_shard_map

    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    make_mesh = jax.make_mesh

    def shard_map(f, *, mesh, in_specs, out_specs, check_vma=True):
        return old_shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_rep=check_vma)

    jax.shard_map, jax.enable_x64 = shard_map, enable_x64
    jax.sharding.AxisType = types.SimpleNamespace(Auto=None)
    jax.make_mesh = lambda shape, names, *, axis_types, devices=None: make_mesh(shape, names, devices=devices)
