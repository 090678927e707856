"""Rows that are encoded a few at a time: value and gradient of the whole batch, from the activations of one part."""

import functools

import equinox as eqx
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from flax.errors import TraceContextError
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax import losses
from tcl_jax.losses import micro_batched
from tests.losses.mappings import AXIS, DEVICES, MAPPINGS, gradient_over_devices
from tests.marks import slow

pytestmark = pytest.mark.xdist_group("micro_batched")

ROWS, PIXELS, HIDDEN, WIDTH = 24, 6, 7, 5


def drop(x, key):
    return jnp.where(jax.random.bernoulli(key, 0.7, x.shape), x / 0.7, 0.0)


def unit(z):
    return z / jnp.linalg.norm(z, axis=-1, keepdims=True)


def encode(params, images, keys):
    """A network with dropout, whose masks follow from the key of the row."""

    def one(image, key):
        return unit(drop(jnp.tanh(image @ params["hidden"]), key) @ params["projection"])

    return jax.vmap(one)(images, keys)


def case(rows=ROWS):
    rng = np.random.default_rng(0)
    params = {
        "hidden": jnp.asarray(rng.normal(size=(PIXELS, HIDDEN))),
        "projection": jnp.asarray(rng.normal(size=(HIDDEN, WIDTH))),
    }
    labels = jnp.asarray(rng.integers(0, 3, rows), jnp.int32)
    return params, jnp.asarray(rng.normal(size=(rows, PIXELS))), labels


def supcon(z, labels):
    """SupCon but for constant factors, as its formula has it."""
    logits = z @ z.T / 0.1 - 1e9 * jnp.eye(len(z))
    return -jnp.mean(jnp.where(labels[:, None] == labels, jax.nn.log_softmax(logits), 0) * (logits > -1e8))


def loss_of(encode, labels):
    """A loss of all rows by what is shared and by the rows."""
    return lambda shared, *rows: supcon(encode(shared, *rows), labels)


def assert_same(ours, expected, tolerance=1e-12):
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def value_and_gradient(encode, make_keys, reverse=False):
    params, images, labels = case()
    keys = jax.random.split(make_keys(1), ROWS)
    gradient = jax.value_and_grad(loss_of(encode, labels), argnums=(0, 1))
    return jax.jit(gradient)(params, images, keys[::-1] if reverse else keys)


of_whole_batch = functools.cache(functools.partial(value_and_gradient, encode))


@pytest.mark.parametrize(
    ("size", "make_keys"),
    [
        *((size, jax.random.key) for size in (5, 23)),
        *slow(*((size, jax.random.key) for size in (1, np.int64(8), 13, 16)), (5, jax.random.PRNGKey)),
    ],
)
def test_value_and_gradient_are_those_of_the_whole_batch(size, make_keys):
    with jax.enable_x64(True):
        assert_same(value_and_gradient(micro_batched(encode, size), make_keys), of_whole_batch(make_keys))


def test_every_row_has_its_key():
    with jax.enable_x64(True):
        # So the comparison above sees which key a row has.
        other, _ = value_and_gradient(encode, jax.random.key, reverse=True)
        assert abs(other - of_whole_batch(jax.random.key)[0]) > 1e-3


@pytest.mark.parametrize("size", [ROWS, ROWS + 1, 10**12])
def test_up_to_size_rows_it_is_the_encoder_itself(size):
    params, images, _ = case()
    keys = jax.random.split(jax.random.key(0), ROWS)
    programs = (jax.make_jaxpr(f)(params, images, keys) for f in (encode, micro_batched(encode, size)))
    assert len({str(program) for program in programs}) == 1


@pytest.mark.parametrize("size", [5, 8])
def test_rows_and_outputs_may_be_trees_and_numpy_arrays(size):
    def encode(shared, views, extra):
        first, second = views["views"]
        return {"sum": first + shared * extra["weights"][:, None], "views": (second, extra["ids"])}

    views = {"views": tuple(np.float32(case()[1][:, i : i + 2]) for i in (0, 2))}
    extra = {"weights": np.arange(ROWS, dtype=np.float32), "ids": np.arange(ROWS, dtype=np.int32), "no": None}
    assert_same(micro_batched(encode, size)(2.0, views, extra), encode(2.0, views, extra), 1e-6)


def test_values_of_a_closure_are_shared_and_differentiated():
    with jax.enable_x64(True):
        params, images, labels = case()
        keys = jax.random.split(jax.random.key(1), ROWS)

        def loss(params, size):
            closed = micro_batched(lambda scale, images, keys: scale * encode(params, images, keys), size)
            return supcon(closed(1.0, images, keys), labels)

        gradient = jax.jit(jax.grad(loss), static_argnums=1)
        assert_same(gradient(params, 7), gradient(params, ROWS))


class LinenEncoder(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.BatchNorm(False, force_float32_reductions=False, param_dtype=jnp.float64)(images)
        return unit(nn.Dense(WIDTH, param_dtype=jnp.float64)(nn.relu(x)))


def test_a_state_goes_from_part_to_part_in_order():
    size = 8
    with jax.enable_x64(True):
        _, images, labels = case()
        model = LinenEncoder()
        variables = model.init(jax.random.key(0), images)
        parts = [images[i : i + size] for i in range(0, ROWS, size)]

        def encode(params, statistics, images):
            z, updated = model.apply({"params": params, **statistics}, images, mutable=["batch_stats"])
            return z, updated

        def loss(params, encode_all):
            z, statistics = encode_all(params, {"batch_stats": variables["batch_stats"]}, images)
            return supcon(z, labels), statistics

        def one_by_one(params, statistics, images):
            z = []
            for part in parts:
                rows, statistics = encode(params, statistics, part)
                z.append(rows)
            return jnp.concatenate(z), statistics

        ours, expected = (
            jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)(variables["params"], f)
            for f in (micro_batched(encode, size, has_state=True), one_by_one)
        )
        assert_same(ours, expected)


class NnxEncoder(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(PIXELS, HIDDEN, rngs=rngs, param_dtype=jnp.float64)
        self.projection = nnx.Linear(HIDDEN, WIDTH, rngs=rngs, param_dtype=jnp.float64)
        self.activation = jnp.tanh

    def __call__(self, images, keys):
        x = jax.vmap(drop)(self.activation(self.hidden(images)), keys)
        return unit(self.projection(x))


def test_an_nnx_module_may_be_what_is_shared():
    with jax.enable_x64(True):
        _, images, labels = case()
        keys = jax.random.split(jax.random.key(1), ROWS)
        model = NnxEncoder(nnx.Rngs(0))

        def encode(model, images, keys):
            return model(images, keys)

        whole, in_parts = (
            nnx.jit(nnx.value_and_grad(loss_of(f, labels)))(model, images, keys)
            for f in (encode, micro_batched(encode, 5))
        )
        assert len(jax.tree.leaves(whole)) == 5
        assert_same(in_parts, whole)


def test_an_nnx_module_that_its_call_changes_is_refused_by_flax():
    model = nnx.BatchNorm(PIXELS, rngs=nnx.Rngs(0))
    with pytest.raises(TraceContextError, match="BatchStat"):
        micro_batched(lambda model, images: model(images), 5)(model, np.float32(case()[1]))


@pytest.mark.slow
def test_an_equinox_module_may_be_what_is_shared():
    with jax.enable_x64(True):
        _, images, labels = case()
        keys = jax.random.split(jax.random.key(1), ROWS)
        mlp = eqx.nn.MLP(PIXELS, HIDDEN, 8, 1, jnp.tanh, key=jax.random.key(0), dtype=jnp.float64)
        model = eqx.nn.Sequential([mlp, eqx.nn.Dropout(0.3)])

        def encode(model, images, keys):
            return unit(jax.vmap(lambda image, key: model(image, key=key))(images, keys))

        whole, in_parts = (
            eqx.filter_jit(eqx.filter_value_and_grad(loss_of(f, labels)))(model, images, keys)
            for f in (encode, micro_batched(encode, 5))
        )
        assert_same(in_parts, whole)


@pytest.mark.parametrize("mapping", [MAPPINGS[0], *slow(*MAPPINGS[1:])])
def test_on_eight_devices_it_is_the_batch_of_all(mapping):
    rows = 5 * DEVICES
    with jax.enable_x64(True):
        params, images, labels = case(rows)
        keys = jax.random.split(jax.random.PRNGKey(1), rows)

        def loss(params, images, keys, labels):
            z = micro_batched(encode, 2)(params, images, keys)
            return losses.supcon_loss(z, labels, axis_name=AXIS, block_size=None)

        def of_all(params, images):
            return losses.supcon_loss(encode(params, images, keys), labels, block_size=None)

        ours = gradient_over_devices(mapping, loss)(params, images, keys, labels)
        value, (by_params, by_images) = jax.jit(jax.value_and_grad(of_all, argnums=(0, 1)))(params, images)
        assert_same(ours, (value, by_params, by_images))


MESH = jax.make_mesh((DEVICES,), (AXIS,), axis_types=(AxisType.Auto,))


def test_a_sharded_array_may_be_split():
    params, images, _ = jax.tree.map(jnp.float32, case(5 * DEVICES))
    keys = jax.random.split(jax.random.key(1), 5 * DEVICES)
    placed = jax.device_put((images, keys), NamedSharding(MESH, P(AXIS)))
    z = jax.jit(micro_batched(encode, 12))(params, *placed)
    assert_same(z, encode(params, images, keys), 1e-5)


def on_mesh(encode):

    def gradient(params, images, keys):
        return jax.grad(lambda params: jax.lax.psum(jnp.sum(encode(params, images, keys)), AXIS))(params)

    return jax.shard_map(gradient, mesh=MESH, in_specs=(P(), P(AXIS), P(AXIS)), out_specs=P())


def primitives(jaxpr, inside=""):
    """Names of the primitives of a program, those in loops behind "scan/"."""
    for equation in jaxpr.eqns:
        yield inside + equation.primitive.name
        in_loop = "scan/" if equation.primitive.name == "scan" else ""
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from primitives(inner, inside + in_loop)


def test_devices_exchange_the_gradient_once_not_for_each_part():
    params, images, _ = case(8 * DEVICES)
    keys = jax.random.split(jax.random.key(0), 8 * DEVICES)
    program = jax.make_jaxpr(on_mesh(micro_batched(encode, 2)))(params, images, keys)
    names = list(primitives(program.jaxpr))
    assert any(name.startswith("scan/") for name in names)
    assert sum("psum" in name for name in names) >= 2
    assert not any("psum" in name and "scan/" in name for name in names)


@functools.cache
def compiled(rows, size, width=512):
    """The gradient of a loss through four wide layers, compiled, never run."""

    def encode(params, images):
        for layer in params:
            images = jnp.tanh(images @ layer)
        return images[:, :WIDTH]

    def gradient(params, images):
        def loss(params):
            return jnp.sum(jnp.cos(jnp.sum(micro_batched(encode, size)(params, images), axis=0)))

        return jax.grad(loss)(params)

    layers = [jax.ShapeDtypeStruct((height, width), jnp.float32) for height in (2, width, width, width)]
    return jax.jit(gradient).lower(layers, jax.ShapeDtypeStruct((rows, 2), jnp.float32)).compile()


def memory(rows, size):
    return compiled(rows, size).memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_memory_is_that_of_one_part():
    part = 4 * 1024 * 512 * 4  # four layers of 1,024 rows
    small, large = memory(2 * 1024, 1024), memory(16 * 1024, 1024)
    assert large - small < 0.5 * part
    assert memory(16 * 1024, 16 * 1024) > 10 * part  # the measure sees what is kept without parts
    for rows in (1025, 16 * 1024 - 1):  # parts that share rows
        assert memory(rows, 1024) < large + 0.5 * part


def test_the_program_does_not_grow_with_the_number_of_parts():
    few, many = (len(compiled(parts * 64, 64, width=16).as_text()) for parts in (3, 300))
    assert many < 1.05 * few


def test_parts_that_share_rows_are_refused_where_there_is_a_state():
    encode = micro_batched(lambda shared, state, x: (x, state), 5, has_state=True)
    with pytest.raises(
        ValueError, match=r"^With a state, size must divide the number of rows: 5 for 24 rows\.$"
    ):
        encode(None, jnp.zeros(3), np.ones((24, 2)))
    assert encode(None, {}, np.ones((24, 2)))[0].shape == (24, 2)


@pytest.mark.parametrize("size", [2, 100])
@pytest.mark.parametrize("returned", [lambda x: x, lambda x: (x,), lambda x: (x, x, 0), lambda x: [x, 0]])
def test_with_a_state_outputs_and_state_are_to_be_returned(returned, size):
    encode = micro_batched(lambda shared, state, x: returned(x), size, has_state=True)
    with pytest.raises(
        ValueError, match=r"^With has_state, encode must return \(outputs, state\), got a [^\n]*\."
    ):
        encode(None, 0.0, np.ones((4, 2)))


@pytest.mark.parametrize("size", [0, -1, 2.0, True, None, "8", jnp.float32(2), np.ones(2)])
def test_a_size_that_is_not_a_positive_whole_number_is_refused(size):
    with pytest.raises(ValueError, match=r"^size must be a positive whole number of rows, got .*\.$"):
        micro_batched(encode, size)


MISTAKES = {
    "nothing": ((), r"got shapes \[\]"),
    "none": ((None, {}), r"got shapes \[\]"),
    "numbers": ((3.0, 4.0), r"got shapes \[\(\)\]"),
    "a number": ((np.ones((4, 2)), 3.0), r"got shapes \[\(\), \(4, 2\)\]"),
    "one key": ((np.ones((4, 2)), jax.random.key(0)), "split a random key into one for each row"),
    "an old key": ((np.ones((4, 2)), jax.random.PRNGKey(0)), r"got shapes \[\(2,\), \(4, 2\)\]"),
    "lengths": (({"a": np.ones((4, 2)), "b": np.ones((3, 2))},), r"got shapes \[\(3, 2\), \(4, 2\)\]"),
    "a name": ((np.ones((4, 2)), "train"), r"got shapes \[\(\), \(4, 2\)\]"),
    "empty": ((np.ones((0, 2)),), r"n >= 1 rows, got shapes \[\(0, 2\)\]"),
}


@pytest.mark.parametrize("size", [2, 100])
@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("name", MISTAKES)
def test_rows_that_cannot_be_split_are_refused(name, has_state, size):
    rows, message = MISTAKES[name]
    encode = (lambda shared, state, *rows: (rows, state)) if has_state else (lambda shared, *rows: rows)
    arguments = (1.0, 2.0) if has_state else (1.0,)
    with pytest.raises(ValueError, match=rf"^micro_batched [^\n]*{message}[^\n]*\.$"):
        micro_batched(encode, size, has_state=has_state)(*arguments, *rows)


@pytest.mark.parametrize("size", [2, 3, 100])
@pytest.mark.parametrize(
    "outputs",
    [lambda x: jnp.sum(x), lambda x: x[:1], lambda x: (x, 1.0), lambda x: [x, x[None]], lambda x: None],
)
def test_outputs_that_are_not_rows_are_refused(outputs, size):
    with pytest.raises(
        ValueError, match=r"^encode must return arrays \[\d, \.\.\.\] for \d rows, got shapes [^\n]*\."
    ):
        micro_batched(lambda shared, x: outputs(x), size)(None, np.ones((5, 3), np.float32))
