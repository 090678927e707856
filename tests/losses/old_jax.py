"""Names of today's JAX that the tests of the losses use, on the oldest JAX that the losses run on: a plugin of pytest.

`make test-old-jax` runs it. The losses themselves need nothing of this, and where JAX has a name, it stays.
"""

import os
import types

import jax

HAS_SHARD_MAP = hasattr(jax, "shard_map")


def pytest_configure(config):
    # Before JAX looks at it, and only where this is the plugin: whoever merely imports the file has flags of their own.
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    config.addinivalue_line("markers", "xdist_group(name): tests of one process")


def pytest_collection_modifyitems(config, items):
    """Inside a checked shard_map, autodiff sums gradients over devices since 0.6.0 alone."""
    if HAS_SHARD_MAP:
        return
    kept, left_out = [], []
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        (left_out if params.get("mapping") == "shard_map" else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


if not HAS_SHARD_MAP:
    from jax.experimental.shard_map import shard_map

    def checked_by_its_new_name(f, *, mesh, in_specs, out_specs, check_vma=True):
        return shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_rep=check_vma)

    jax.shard_map = checked_by_its_new_name

if not hasattr(jax, "enable_x64"):
    from jax.experimental import enable_x64

    jax.enable_x64 = enable_x64

if not hasattr(jax.sharding, "AxisType"):
    make_mesh = jax.make_mesh
    jax.sharding.AxisType = types.SimpleNamespace(Auto=None)
    jax.make_mesh = lambda shape, names, *, axis_types, devices=None: make_mesh(shape, names, devices=devices)
