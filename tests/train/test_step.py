"""The whole step: one compilation, one result on any number of devices, and a program for accelerators."""

import dataclasses
import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax import losses
from tcl_jax.augment import make_policy, make_views
from tcl_jax.data import Batch
from tcl_jax.models import ContrastiveModel, ProjectionHead, make_model, params_sha256
from tcl_jax.parallel import DATA_AXIS, make_mesh, replicate, split_batch
from tcl_jax.train.objective import LOSSES, make_objective
from tcl_jax.train.optimizer import make_optimizer
from tcl_jax.train.state import VIEWS_STREAM, Hyper, TrainState, create_state, stream_key
from tcl_jax.train.step import compile_step, make_device_step

IMAGES, STEPS_PER_EPOCH = 32, 2
HYPER = Hyper(*(np.float32(x) for x in (0.05, 0.2, 50.0, 1.5)), seed=np.uint32(7), diagnose=np.True_)


class SmallEncoder(nn.Module):
    """What matters of a ResNet here (convolution, BatchNorm, mean), compiled in a second instead of ten."""

    axis_name: str | None
    dtype: type

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.Conv(4, (3, 3), strides=2, param_dtype=self.dtype, name="conv1")(images)
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            axis_name=self.axis_name,
            use_fast_variance=False,
            dtype=self.dtype,
            param_dtype=self.dtype,
            force_float32_reductions=False,
            name="bn1",
        )(x)
        x = nn.Conv(8, (3, 3), strides=2, param_dtype=self.dtype, name="conv2")(nn.relu(x))
        return jnp.mean(nn.relu(x), axis=(1, 2))


@dataclasses.dataclass
class Parts:
    """The parts of a step for a small network and small images, on some devices."""

    devices: int
    objective: str = "tcl"
    labels: str = "class"
    sync_batch_norm: bool = True
    param_dtype: type = jnp.float32
    resnet: bool = False
    optimizer_name: str = "sgd"
    ema_decay: float = 0.0

    def __post_init__(self):
        self.mesh = make_mesh(self.devices)
        self.optimizer = make_optimizer(self.optimizer_name, momentum=0.9, weight_decay=1e-3, decay="all")
        axis_name = DATA_AXIS if self.sync_batch_norm else None
        if self.resnet:
            self.model = make_model("resnet18", stem="cifar", width=4, projection_dim=8, axis_name=axis_name)
        else:
            self.model = ContrastiveModel(
                SmallEncoder(axis_name, self.param_dtype), ProjectionHead(8, self.param_dtype)
            )
        self.views = make_views(
            [make_policy("crop_flip", crop_padding=1, flip=True)] * 2, mean=(0.5,), std=(0.3,)
        )
        device_step = make_device_step(
            self.model,
            self.optimizer,
            make_objective(self.objective, labels=self.labels, num_views=2),
            self.views,
            steps_per_epoch=STEPS_PER_EPOCH,
            sync_batch_norm=self.sync_batch_norm,
            ema_decay=self.ema_decay,
        )
        self.step = compile_step(device_step, self.mesh)

    def initial_state(self, seed=1) -> TrainState:
        return create_state(
            self.model,
            self.optimizer,
            image_shape=(8, 8, 1),
            seed=seed,
            mesh=self.mesh,
            keep_average=self.ema_decay > 0,
        )

    def state(self) -> TrainState:
        return replicate(initial_state(self.param_dtype), self.mesh)

    def run(self, steps: int):
        state, losses_seen = self.state(), []
        for number in range(steps):
            state, metrics = self.step(state, split_batch(batch(number), self.mesh), HYPER)
            losses_seen.append(float(metrics["loss"]))
        return state, losses_seen


@functools.cache
def initial_state(param_dtype) -> TrainState:
    """Compiled once for all tests; a copy on the host, because a step takes the memory of its state."""
    parts = Parts(1, param_dtype=param_dtype)
    state = parts.initial_state()
    return jax.tree.map(np.array, state)


def batch(number=0):
    rng = np.random.default_rng(number)
    return Batch(
        images=rng.integers(0, 256, (IMAGES, 8, 8, 1), np.uint8),
        labels=rng.integers(0, 4, IMAGES).astype(np.int32),
        indices=rng.permutation(1000)[:IMAGES].astype(np.int32),
        weights=np.ones(IMAGES, np.float32),
    )


def reference_step(parts: Parts, state: TrainState, examples: Batch):
    """One step on one device, written out: the old state -> (params, batch_stats, momentum, loss)."""
    model = parts.model.clone(encoder=parts.model.encoder.clone(axis_name=None))
    key = jax.random.fold_in(stream_key(HYPER.seed, VIEWS_STREAM), int(state.step) // STEPS_PER_EPOCH)
    images = parts.views(key, examples.images, examples.indices)

    def loss_of(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        z, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        labels = np.tile(examples.labels, 2)
        return losses.tcl_loss(z, labels, temperature=0.2, k1=50.0, k2=1.5), updated["batch_stats"]

    (loss, batch_stats), gradients = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(state.params)
    old = state.opt_state[1].trace
    momentum = jax.tree.map(lambda v, g, p: 0.9 * v + g + 1e-3 * p, old, gradients, state.params)
    params = jax.tree.map(lambda p, v: p - 0.05 * v, state.params, momentum)
    return params, batch_stats, momentum, loss


def largest_difference(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.max(np.abs(np.asarray(x) - np.asarray(y)))) for x, y in pairs)


@pytest.mark.parametrize("devices", [1, 8])
def test_step_is_the_written_out_step_on_any_number_of_devices(devices):
    with jax.enable_x64(True):
        parts = Parts(devices, param_dtype=jnp.float64)
        state, _ = parts.run(
            STEPS_PER_EPOCH
        )  # so that momentum, statistics and the epoch are not those of the start
        state = jax.tree.map(np.asarray, state)  # a copy: the step takes the original's memory
        expected = reference_step(parts, state, batch(9))
        after, metrics = parts.step(replicate(state, parts.mesh), split_batch(batch(9), parts.mesh), HYPER)
    found = (after.params, after.batch_stats, after.opt_state[1].trace, metrics["loss"])
    assert after.step == STEPS_PER_EPOCH + 1
    for ours, reference in zip(found, expected, strict=True):
        # Hyper-parameters are float32: 0.05 itself differs from the 64-bit 0.05 by 1e-8.
        assert largest_difference(ours, reference) <= 1e-7
    if devices == 8:
        with jax.enable_x64(True):
            one, _ = Parts(1, param_dtype=jnp.float64).run(STEPS_PER_EPOCH)
        assert largest_difference(one.params, state.params) <= 1e-9


@pytest.mark.parametrize("objective", LOSSES)
def test_losses_on_eight_devices_are_those_on_one(objective):
    _, one = Parts(1, objective).run(4)
    _, eight = Parts(8, objective).run(4)
    np.testing.assert_allclose(eight, one, rtol=1e-4)


def test_without_synchronisation_the_statistics_are_each_devices_own_and_their_mean_is_kept():
    synchronised, _ = Parts(8).run(1)
    own, _ = Parts(8, sync_batch_norm=False).run(1)
    assert largest_difference(synchronised.params, own.params) > 100 * largest_difference(
        synchronised.params, Parts(1).run(1)[0].params
    )
    # The first BatchNorm sees the same inputs: means of equal parts have the mean of the whole.
    mean = [state.batch_stats["encoder"]["bn1"]["mean"] for state in (synchronised, own)]
    np.testing.assert_allclose(*mean, rtol=1e-4, atol=1e-6)


def test_one_compilation_serves_all_hyper_parameters_and_nothing_goes_to_the_host():
    parts = Parts(8)
    state, first = parts.state(), split_batch(batch(), parts.mesh)
    settings = replicate([HYPER, HYPER._replace(learning_rate=np.float32(0.2), k1=np.float32(0))], parts.mesh)
    with jax.transfer_guard_device_to_host("disallow"):
        for hyper in settings * 2:
            state, _ = parts.step(state, first, hyper)
    assert parts.step._cache_size() == 1


def test_old_state_is_donated():
    parts = Parts(8)
    state = parts.state()
    parts.step(state, split_batch(batch(), parts.mesh), HYPER)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


@pytest.mark.quick
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_step_of_a_resnet_lowers_for_accelerators_on_eight_devices(platform):
    parts = Parts(8, resnet=True)
    shapes = jax.eval_shape(parts.initial_state)
    replicated, split = (NamedSharding(parts.mesh, spec) for spec in (P(), P(DATA_AXIS)))
    arguments = [
        jax.tree.map(lambda x, at=sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), tree)
        for tree, sharding in ((shapes, replicated), (batch(), split), (HYPER, replicated))
    ]
    exported = jax.export.export(parts.step, platforms=[platform])(*arguments)
    assert exported.platforms == (platform,)
    assert exported.nr_devices == 8
    assert "all_gather" in exported.mlir_module()


def test_initial_state_is_a_function_of_the_seed():
    parts = Parts(1)
    states = [parts.initial_state(seed) for seed in (1, 1, 2)]
    hashes = [params_sha256(state.variables) for state in states]
    assert hashes[0] == hashes[1] != hashes[2]


def test_params_sha256_sees_every_bit_of_parameters_and_statistics():
    state = Parts(1).state()
    before = params_sha256(state.variables)
    mean = state.batch_stats["encoder"]["bn1"]["mean"]
    state.batch_stats["encoder"]["bn1"]["mean"] = mean.at[0].set(
        np.nextafter(np.float32(mean[0]), np.float32(1))
    )
    assert params_sha256(state.variables) != before
    state.batch_stats["encoder"]["bn1"]["mean"] = mean
    assert params_sha256(state.variables) == before
