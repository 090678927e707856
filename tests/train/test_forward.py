"""Gradients through micro-batches: those of the whole batch, from the activations of one micro-batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax.data import Batch
from tcl_jax.models import make_model
from tcl_jax.parallel import DATA_AXIS, local_rows, make_mesh, replicate, split_batch
from tcl_jax.train.forward import forward
from tcl_jax.train.objective import make_objective
from tcl_jax.train.optimizer import make_optimizer
from tcl_jax.train.state import Hyper, create_state
from tcl_jax.train.step import compile_step, make_device_step
from tests.marks import slow
from tests.train.small import IMAGES, VIEWS, batch, small_model

pytestmark = pytest.mark.xdist_group("forward")  # they share what is compiled first

HYPER = Hyper(*(np.float64(x) for x in (0.05, 0.2, 50.0, 1.5)), seed=np.uint32(7))


def small(axis_name=DATA_AXIS):
    return small_model(axis_name, jnp.float64)


def resnet(axis_name=DATA_AXIS, remat=False):
    return make_model(
        "resnet18",
        stem="cifar",
        width=4,
        projection_dim=8,
        axis_name=axis_name,
        param_dtype=jnp.float64,
        remat=remat,
    )


@functools.cache
def variables_of(make):
    return make(None).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), train=False)


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


@functools.cache
def in_two(make):
    """Loss, gradient and statistics with every activation kept: plain autodiff of both micro-batches at once."""
    variables, model, examples, key = variables_of(make), make(None), batch(), jax.random.key(3)
    images = VIEWS(key, examples.images, examples.indices).reshape(2, IMAGES, 8, 8, 1)

    def loss_of(params):
        statistics, outputs = variables["batch_stats"], []
        for part in np.split(np.arange(IMAGES), 2):
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


def cached(make, micro_batches, devices, **options):
    """The same by `forward`, as the step takes it."""
    mesh, model, key = make_mesh(devices), make(**options), jax.random.key(3)
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
    arranged = jax.tree.map(lambda x: x[rows], batch())
    return mapped(replicate(variables_of(make), mesh), split_batch(arranged, mesh))


def assert_near(ours, expected, tolerance):
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        scale = np.max(np.abs(np.asarray(y)))
        assert np.max(np.abs(np.asarray(x) - np.asarray(y))) <= tolerance * max(scale, 1.0)


@pytest.mark.parametrize("make", [small, *slow(resnet)])
@pytest.mark.parametrize("devices", [8, *slow(1)])
def test_gradient_of_micro_batches_is_that_of_the_whole_batch(make, devices):
    with jax.enable_x64(True):
        assert_near(cached(make, 2, devices), in_two(make), 1e-9)


def test_the_statistics_are_those_of_a_micro_batch():
    with jax.enable_x64(True):
        # So the comparison above sees which rows a BatchNorm saw.
        assert abs(cached(small, 1, 1)[0] - in_two(small)[0]) > 1e-5


@pytest.mark.slow
def test_rematerialised_blocks_change_no_figure():
    with jax.enable_x64(True):
        assert_near(cached(resnet, 2, 1, remat=True), in_two(resnet), 1e-9)


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
