"""Gradients through micro-batches: those of the whole batch, from the activations of one micro-batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax.augment import make_policy, make_views
from tcl_jax.data import Batch
from tcl_jax.models import make_model
from tcl_jax.parallel import DATA_AXIS, local_rows, make_mesh, replicate, split_batch
from tcl_jax.train.forward import forward
from tcl_jax.train.objective import make_objective
from tcl_jax.train.optimizer import make_optimizer
from tcl_jax.train.state import Hyper, create_state
from tcl_jax.train.step import compile_step, make_device_step

pytestmark = pytest.mark.xdist_group("forward")  # they share what is compiled first

IMAGES = 32
HYPER = Hyper(*(np.float64(x) for x in (0.05, 0.2, 50.0, 1.5)), seed=np.uint32(7))
VIEWS = make_views([make_policy("crop_flip", crop_padding=1, flip=True)] * 2, mean=(0.5,), std=(0.3,))


def resnet(axis_name=DATA_AXIS, **options):
    return make_model(
        "resnet18",
        stem="cifar",
        width=4,
        projection_dim=8,
        axis_name=axis_name,
        param_dtype=jnp.float64,
        **options,
    )


@pytest.fixture(scope="module")
def variables():
    with jax.enable_x64(True):
        return resnet(None).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), train=False)


def batch(images=IMAGES):
    rng = np.random.default_rng(0)
    return Batch(
        images=rng.integers(0, 256, (images, 8, 8, 1), np.uint8),
        labels=rng.integers(0, 4, images).astype(np.int32),
        indices=rng.permutation(1000)[:images].astype(np.int32),
        weights=np.ones(images, np.float32),
    )


def dense_tcl(z, labels):
    """The loss as its formula has it, for autodiff."""
    s, t = z @ z.T, HYPER.temperature
    others = ~jnp.eye(len(labels), dtype=bool)
    positive = (labels[:, None] == labels) & others
    negative = labels[:, None] != labels
    attraction = jnp.exp(s / t)
    d = jnp.sum(
        jnp.where(positive, attraction + HYPER.k1 * jnp.exp(-s), 0)
        + HYPER.k2 * jnp.where(negative, attraction, 0),
        axis=1,
    )
    return jnp.mean(jnp.log(d) - jnp.sum(jnp.where(positive, s / t, 0), axis=1) / jnp.sum(positive, axis=1))


def written_out(variables, examples, micro_batches):
    """Loss, gradient and statistics with every activation kept: plain autodiff of all micro-batches at once."""
    model, key = resnet(None), jax.random.key(3)
    images = VIEWS(key, examples.images, examples.indices).reshape(2, IMAGES, 8, 8, 1)

    def loss_of(params):
        statistics, outputs = variables["batch_stats"], []
        for part in np.split(np.arange(IMAGES), micro_batches):
            z, updated = model.apply(
                {"params": params, "batch_stats": statistics},
                images[:, part].reshape(-1, 8, 8, 1),
                train=True,
                mutable=["batch_stats"],
            )
            statistics = updated["batch_stats"]
            outputs.append(z.reshape(2, len(part), -1))
        z = jnp.concatenate(outputs, axis=1).reshape(2 * IMAGES, -1)
        return dense_tcl(z, jnp.tile(examples.labels, 2)), statistics

    (loss, statistics), gradient = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(variables["params"])
    return loss, gradient, statistics


def cached(variables, examples, micro_batches, devices, remat=False):
    """The same by `forward`, as the step takes it."""
    mesh, model, key = make_mesh(devices), resnet(remat=remat), jax.random.key(3)
    objective = make_objective("tcl", labels="class", num_views=2)

    def on_device(variables, batch):
        def loss_of(params):
            outputs, statistics = forward(
                model,
                VIEWS,
                params,
                variables["batch_stats"],
                key,
                batch,
                dropout_key=key,
                micro_batches=micro_batches,
                sync_batch_norm=True,
            )
            return objective.loss(outputs, batch, HYPER), statistics

        (loss, statistics), gradient = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
        return loss, gradient, statistics

    mapped = jax.jit(jax.shard_map(on_device, mesh=mesh, in_specs=(P(), P(DATA_AXIS)), out_specs=P()))
    rows = local_rows(IMAGES, mesh, micro_batches)
    arranged = jax.tree.map(lambda x: x[rows], examples)
    return mapped(replicate(variables, mesh), split_batch(arranged, mesh))


def assert_near(ours, expected, tolerance):
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        scale = np.max(np.abs(np.asarray(y)))
        assert np.max(np.abs(np.asarray(x) - np.asarray(y))) <= tolerance * max(scale, 1.0)


@pytest.fixture(scope="module")
def in_two(variables):
    with jax.enable_x64(True):
        return written_out(variables, batch(), 2)


@pytest.mark.parametrize("devices", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_gradient_of_micro_batches_is_that_of_the_whole_batch(variables, in_two, devices):
    with jax.enable_x64(True):
        assert_near(cached(variables, batch(), 2, devices), in_two, 1e-9)


@pytest.mark.slow
def test_rematerialised_blocks_change_no_figure(variables, in_two):
    with jax.enable_x64(True):
        assert_near(cached(variables, batch(), 2, 1, remat=True), in_two, 1e-9)
        whole = cached(variables, batch(), 1, 1)
        # The statistics are those of a micro-batch: the comparisons tell which rows a BatchNorm saw.
        assert abs(whole[0] - in_two[0]) > 1e-4


def compiled_step(batch_size, micro_batch_size, remat=False):
    """A step compiled, never run: ResNet-18 of width 16 on 16x16 pixels, one device."""
    mesh = make_mesh(1)
    model = make_model(
        "resnet18", stem="cifar", width=16, projection_dim=128, axis_name=DATA_AXIS, remat=remat
    )
    optimizer = make_optimizer("sgd", momentum=0.9, weight_decay=1e-4, decay="all")
    device_step = make_device_step(
        model,
        optimizer,
        make_objective("tcl", labels="class", num_views=2),
        VIEWS,
        steps_per_epoch=10,
        sync_batch_norm=True,
        micro_batches=batch_size // micro_batch_size,
    )
    step = compile_step(device_step, mesh)
    state = jax.eval_shape(lambda: create_state(model, optimizer, image_shape=(16, 16, 1), seed=0, mesh=mesh))
    arguments = (
        (state, P()),
        (
            Batch(
                jax.ShapeDtypeStruct((batch_size, 16, 16, 1), np.uint8),
                *(jax.ShapeDtypeStruct((batch_size,), dtype) for dtype in (np.int32, np.int32, np.float32)),
            ),
            P(DATA_AXIS),
        ),
        (Hyper(*(np.float32(0),) * 4, seed=np.uint32(0), diagnose=np.False_), P()),
    )

    def placed(x, spec):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))

    shapes = [jax.tree.map(lambda x, spec=spec: placed(x, spec), tree) for tree, spec in arguments]
    return step.lower(*shapes).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_memory_is_that_of_one_micro_batch():
    small, large = compiled_step(256, 256), compiled_step(4096, 256)
    assert large <= 1.1 * small
    # Without micro-batches it grows with the batch.
    whole = compiled_step(1024, 1024)
    assert whole > 3 * small
    assert compiled_step(1024, 1024, remat=True) < 0.7 * whole
