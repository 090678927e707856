"""The queue, the momentum encoder and the learned temperature: against a step written out, and in the state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from tcl_jax.data import Batch
from tcl_jax.parallel import make_mesh, replicate, split_batch
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.stored import Position
from tcl_jax.train.optimizer import make_optimizer
from tcl_jax.train.queue import empty_queue
from tcl_jax.train.state import VIEWS_STREAM, stream_key
from tcl_jax.train.sweep_step import AtOnce, OneByOne
from tcl_jax.train.temperature import begin_temperature, temperature_of
from tests.marks import slow
from tests.train.small import (
    HYPER,
    IMAGES,
    STEPS_PER_EPOCH,
    VIEWS,
    batch,
    largest_difference,
    parts_on,
    small_model,
)

pytestmark = pytest.mark.xdist_group("small")  # they share what is compiled

ROWS = 2 * IMAGES
QUEUE = 2 * ROWS
RATE = 0.3


def dense(rows, labels, references, *, temperature):
    """The supervised contrastive loss of rows against each other and all references that count, written out."""
    columns, of_columns, weights = rows, labels, jnp.ones(len(rows))
    if references is not None:
        columns, of_columns, weights = map(
            jnp.concatenate, zip((columns, of_columns, weights), references, strict=True)
        )
    s = rows @ columns.T / temperature
    counts = (weights > 0) & ~jnp.eye(*s.shape, dtype=bool)
    positive = counts & (labels[:, None] == of_columns)
    log_d = jax.nn.logsumexp(jnp.where(counts, s, -jnp.inf), axis=1)
    number = jnp.sum(positive, axis=1)
    each = log_d - jnp.sum(jnp.where(positive, s, 0), axis=1) / jnp.maximum(number, 1)
    return jnp.sum(jnp.where(number > 0, each, 0)) / jnp.sum(number > 0)


def share(devices, number):
    """A batch as the training loop hands it to the devices."""
    return split_batch(few_images(number), make_mesh(devices))


def few_images(number) -> Batch:
    """Of 48 images, so that some come again within the length of the queue."""
    images = batch(number)
    rng = np.random.default_rng(number)
    return images._replace(indices=rng.permutation(48)[:IMAGES].astype(np.int32))


def trained(devices, steps, hyper=HYPER, **options):
    """Copies on the host of the states of some steps, the initial one first, and the metrics of each."""
    parts = parts_on(devices, **options)
    state = parts.initial_state()
    states, metrics = [jax.tree.map(np.array, state)], []
    for number in range(steps):
        state, found = parts.step(state, share(devices, number), hyper)
        states.append(jax.tree.map(np.array, state))
        metrics.append(jax.device_get(found))
    return states, metrics


@functools.partial(jax.jit, static_argnames=("by_image", "learn"))
def one_step(carried, queue, examples, step, *, by_image, learn):
    """What is carried after a step in plain JAX, on one device; its loss, its temperature and the rows for the queue.

    Carried are variables, their momentum, a momentum encoder or None, the log of the temperature and its momentum.
    """
    variables, trace, encoder, log_t, log_t_trace = carried
    key = jax.random.fold_in(stream_key(HYPER.seed, VIEWS_STREAM), step // STEPS_PER_EPOCH)
    images, model = VIEWS(key, examples.images, examples.indices), small_model(None, jnp.float64)
    labels = jnp.tile(examples.indices if by_image else examples.labels, 2)

    def project(variables):
        return model.apply(variables, images, train=True, mutable=["batch_stats"])

    def loss_of(params, log_t):
        rows, updated = project(variables | {"params": params})
        return dense(rows, labels, queue, temperature=jnp.exp(log_t)), (rows, updated["batch_stats"])

    params, rate = variables["params"], HYPER.learning_rate
    (loss, (rows, batch_stats)), (gradients, by_log_t) = jax.value_and_grad(
        loss_of, argnums=(0, 1), has_aux=True
    )(params, log_t)
    trace = jax.tree.map(lambda v, g, p: 0.9 * v + g + 1e-3 * p, trace, gradients, params)
    after = {"params": jax.tree.map(lambda p, v: p - rate * v, params, trace), "batch_stats": batch_stats}
    if encoder is not None:
        rows, _ = project(encoder)
        d = jnp.minimum(RATE, (1 + step) / (10 + step))
        encoder = jax.tree.map(lambda a, x: d * a + (1 - d) * x, encoder, after)
    temperature = jnp.exp(log_t)
    if learn:
        log_t_trace = 0.9 * log_t_trace + by_log_t
        log_t = jnp.clip(log_t - rate * log_t_trace, np.log(0.01), 0)
    return (after, trace, encoder, log_t, log_t_trace), loss, temperature, (rows, labels)


WIDE = dict(queue_size=QUEUE, param_dtype=jnp.float64)
EVERYTHING = WIDE | dict(objective="supcon", momentum_encoder=RATE, learn_temperature=True)


@pytest.mark.parametrize(
    ("devices", "options"),
    [(1, WIDE | dict(objective=f"{__name__}:dense", labels="image")), *slow((8, EVERYTHING))],
    ids=["filled by the weights, an own loss, by image, on one device", "all on eight"],
)
def test_training_is_that_written_out_where_no_queue_is_used_before_it_is_filled(devices, options):
    with jax.enable_x64(True):
        states, metrics = trained(devices, 5, **options)
        start = states[0]
        zero = np.float64(0)
        log_t = np.log(np.float64(HYPER.temperature))
        carried = start.variables, start.opt_state[1].trace, start.momentum_encoder, log_t, zero
        past = []
        for step, found in enumerate(metrics):
            queue = None
            if len(past) >= 2:  # filled
                queue = [jnp.concatenate(x) for x in zip(*past[-2:], strict=True)] + [jnp.ones(QUEUE)]
            carried, loss, temperature, rows = one_step(
                carried,
                queue,
                few_images(step),
                step,
                by_image="labels" in options,
                learn="learn_temperature" in options,
            )
            past.append(rows)
            np.testing.assert_allclose(found["loss"], loss, rtol=1e-9)
            np.testing.assert_allclose(found.get("temperature", temperature), temperature, rtol=1e-9)
    last, (variables, _, encoder, _, _) = states[-1], carried
    assert largest_difference(last.variables, variables) <= 1e-9
    if "momentum_encoder" in options:
        assert largest_difference(last.momentum_encoder, encoder) <= 1e-9
        assert abs(metrics[-1]["temperature"] - HYPER.temperature) > 1e-3
    embeddings, of_rows = (np.concatenate(x) for x in zip(*past[-2:], strict=True))
    np.testing.assert_allclose(last.queue.embeddings, embeddings, atol=1e-9)
    np.testing.assert_array_equal(last.queue.labels, of_rows)
    assert [np.sum(state.queue.labels >= 0) for state in states] == [0, ROWS, *[QUEUE] * 4]
    assert parts_on(devices, **options).step._cache_size() == 1


def test_all_rows_of_a_queue_count_from_when_it_is_filled():
    queue = empty_queue(6, jax.ShapeDtypeStruct((1, 2), jnp.float32))
    for number in range(5):
        embeddings, labels, weights = queue.references
        assert list(weights) == [float(number >= 3)] * 6
        assert list(labels[-2:]) == ([2 * number - 1, 2 * number] if number else [-1, -1])
        queue = queue.push(jnp.full((2, 2), number), jnp.array([2 * number + 1, 2 * number + 2]))
    assert embeddings.shape == (6, 2)
    assert list(queue.labels) == [5, 6, 7, 8, 9, 10]


@pytest.mark.slow
def test_a_run_continued_from_a_checkpoint_is_the_undisturbed_one_bit_for_bit(tmp_path):
    with jax.enable_x64(True):
        parts = parts_on(8, **EVERYTHING)
        states, _ = trained(8, 5, **EVERYTHING)
        directory = epath.Path(tmp_path / "checkpoints")
        with Checkpoints(directory) as checkpoints:
            checkpoints.save(replicate(states[3], parts.mesh), Position(1))
        with Checkpoints(directory) as checkpoints:
            restored, _ = checkpoints.restore_latest(jax.eval_shape(parts.initial_state), parts.mesh)
        assert jax.tree.structure(restored) == jax.tree.structure(states[3])
        for number in (3, 4):
            restored, _ = parts.step(restored, share(8, number), HYPER)
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.array, restored), states[5])


def test_a_state_without_these_is_stored_as_ever():
    items = parts_on(1).initial_state().items()
    assert list(items["training"]) == ["step", "opt_state", "skipped"]
    assert list(items["model"]) == ["params", "batch_stats"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["one by one", "at once"])
def test_a_member_of_a_sweep_is_its_single_run(way):
    hypers = [HYPER, HYPER._replace(temperature=np.float32(0.5))]
    with jax.enable_x64(True):
        parts = parts_on(8, **EVERYTHING)
        step = OneByOne(parts.step) if way == "one by one" else AtOnce(parts.device_step, parts.mesh)
        states = step.start([parts.initial_state() for _ in hypers])
        for number in range(4):
            states, _ = step(states, [share(8, number)] * 2, hypers)
        # Now, before another program of eight devices starts: of two at once each can wait for what the other holds.
        found = [jax.tree.map(np.array, step.member(states, member)) for member in range(len(hypers))]
        for member, hyper in enumerate(hypers):
            alone, _ = trained(8, 4, hyper, **EVERYTHING)
            assert largest_difference(found[member], alone[-1]) <= (0 if way == "one by one" else 1e-9)


def breaks_at_once(rows, labels, references):
    """Not finite where the queue is filled; a loss of the user's own that names `references`."""
    return jnp.mean(rows[:, 0]) / jnp.where(references[2][0] > 0, 0, 1)


@pytest.mark.slow
def test_a_step_that_is_skipped_leaves_the_queue_as_it_was():
    states, metrics = trained(
        1, 2, objective=f"{__name__}:breaks_at_once", queue_size=ROWS, skip_not_finite=True
    )
    assert [int(m["skipped"]) for m in metrics] == [0, 1]
    assert np.min(states[1].queue.labels) >= 0
    jax.tree.map(np.testing.assert_array_equal, states[2].queue, states[1].queue)


@pytest.mark.parametrize(("initial", "bound"), [(0.012, 0.01), (0.95, 1.0)])
def test_a_temperature_stays_in_its_range(initial, bound):
    optimizer = make_optimizer("sgd", momentum=0.0, weight_decay=0.0, decay="all")
    learned = begin_temperature(optimizer)
    assert temperature_of(learned.variable, np.float32(initial)) == np.float32(initial)
    for _ in range(2):
        uphill = {
            "log_ratio": jnp.float32(initial - bound)
        }  # a step down it leads towards the bound, and past it
        learned = learned.step(optimizer, uphill, 1e4, np.float32(initial))
        assert temperature_of(learned.variable, np.float32(initial)) == pytest.approx(bound, rel=1e-6)
    learned = learned.step(optimizer, {"log_ratio": jnp.float32(bound - initial)}, 0.1, np.float32(initial))
    assert temperature_of(learned.variable, np.float32(initial)) != pytest.approx(bound, rel=1e-6)


def test_an_optimizer_of_the_users_own_steps_the_temperature():
    optimizer = make_optimizer("optax:lion", momentum=0.9, weight_decay=0.0, decay="kernels")
    learned = begin_temperature(optimizer).step(optimizer, {"log_ratio": jnp.float32(3)}, 0.1, 0.2)
    assert float(learned.variable["log_ratio"]) == pytest.approx(-0.1)
