"""A small network with all that a step is made of, compiled in a second instead of ten."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tcl_jax.augment import make_policy, make_views
from tcl_jax.data import Batch
from tcl_jax.models import ContrastiveModel, ProjectionHead
from tcl_jax.parallel import DATA_AXIS, make_mesh, replicate, split_batch
from tcl_jax.train.classifier import ClassifierLoss
from tcl_jax.train.objective import make_objective
from tcl_jax.train.optimizer import make_optimizer
from tcl_jax.train.state import Hyper, TrainState, create_state
from tcl_jax.train.step import compile_step, make_device_step

IMAGES, STEPS_PER_EPOCH = 32, 2
HYPER = Hyper(*(np.float32(x) for x in (0.05, 0.2, 50.0, 1.5)), seed=np.uint32(7), diagnose=np.True_)
VIEWS = make_views([make_policy("crop_flip", crop_padding=1, flip=True)] * 2, mean=(0.5,), std=(0.3,))


class SmallEncoder(nn.Module):
    """What matters of a ResNet here: convolution, BatchNorm, mean."""

    axis_name: str | None
    dtype: type

    layer_names = (("conv1", "bn1"), ("conv2",))

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


def small_model(axis_name: str | None = DATA_AXIS, param_dtype: type = jnp.float32) -> ContrastiveModel:
    return ContrastiveModel(SmallEncoder(axis_name, param_dtype), ProjectionHead(8, param_dtype))


@dataclasses.dataclass
class Parts:
    """The parts of a step for a network and small images, on some devices."""

    devices: int
    objective: str = "tcl"
    sync_batch_norm: bool = True
    param_dtype: type = jnp.float32
    optimizer_name: str = "sgd"
    ema_decay: float = 0.0
    skip_not_finite: bool = False
    queue_size: int = 0
    momentum_encoder: float = 0.0
    learn_temperature: bool = False
    classifier: ClassifierLoss | None = None
    micro_batches: int = 1
    weighted: bool = False
    clip_norm: float = 0.0
    layer_decay: float = 1.0
    labels: str = "class"
    model: ContrastiveModel | None = None  # None: the small one

    def __post_init__(self):
        self.mesh = make_mesh(self.devices)
        make = functools.partial(make_optimizer, self.optimizer_name, momentum=0.9, decay="all")
        self.optimizer = make(
            weight_decay=1e-3,
            clip_norm=self.clip_norm,
            layer_decay=self.layer_decay,
            layer_names=SmallEncoder.layer_names,
        )
        self.temperature_optimizer = make(weight_decay=0.0) if self.learn_temperature else None
        if self.model is None:
            self.model = small_model(DATA_AXIS if self.sync_batch_norm else None, self.param_dtype)
        self.device_step = make_device_step(
            self.model,
            self.optimizer,
            make_objective(
                self.objective,
                labels=self.labels,
                num_views=2,
                micro_batches=self.micro_batches,
                weighted=self.weighted,
            ),
            VIEWS,
            steps_per_epoch=STEPS_PER_EPOCH,
            sync_batch_norm=self.sync_batch_norm,
            micro_batches=self.micro_batches,
            ema_decay=self.ema_decay,
            skip_not_finite=self.skip_not_finite,
            momentum_encoder=self.momentum_encoder,
            temperature_optimizer=self.temperature_optimizer,
            classifier=self.classifier,
        )
        self.step = compile_step(self.device_step, self.mesh)

    def initial_state(self, seed=1) -> TrainState:
        return create_state(
            self.model,
            self.optimizer,
            image_shape=(8, 8, 1),
            seed=seed,
            mesh=self.mesh,
            keep_average=self.ema_decay > 0,
            queue_size=self.queue_size,
            keep_momentum_encoder=self.momentum_encoder > 0,
            temperature_optimizer=self.temperature_optimizer,
            classifier=self.classifier,
        )

    def state(self) -> TrainState:
        return replicate(_initial_state(self.param_dtype), self.mesh)

    def run(self, steps: int):
        """The state after some steps, and their losses."""
        state, losses = self.state(), []
        for number in range(steps):
            state, metrics = self.step(state, split_batch(batch(number), self.mesh), HYPER)
            losses.append(float(metrics["loss"]))
        return state, losses


_parts = functools.cache(Parts)


def parts_on(devices: int, **options) -> Parts:
    """Parts whose step is compiled once for all tests of a process."""
    defaults = {field.name: field.default for field in dataclasses.fields(Parts) if field.name != "devices"}
    return _parts(devices, **(defaults | options))


@functools.cache
def _initial_state(param_dtype) -> TrainState:
    """A copy on the host, because a step takes the memory of its state."""
    return jax.tree.map(np.array, Parts(1, param_dtype=param_dtype).initial_state())


def batch(number=0):
    rng = np.random.default_rng(number)
    return Batch(
        images=rng.integers(0, 256, (IMAGES, 8, 8, 1), np.uint8),
        labels=rng.integers(0, 4, IMAGES).astype(np.int32),
        indices=rng.permutation(1000)[:IMAGES].astype(np.int32),
        weights=np.ones(IMAGES, np.float32),
    )


def largest_difference(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.max(np.abs(np.asarray(x) - np.asarray(y)))) for x, y in pairs)
