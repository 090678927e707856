"""The linear classifier that is trained along: against a step written out, and without a trace in the encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax.sharding import PartitionSpec as P

from tcl_jax import losses
from tcl_jax.parallel import make_mesh, replicate, split_batch
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.stored import Position
from tcl_jax.train.classifier import ClassifierLoss
from tcl_jax.train.optimizer import make_optimizer
from tcl_jax.train.state import VIEWS_STREAM, stream_key
from tcl_jax.train.sweep_step import AtOnce, OneByOne
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

DETACHED, JOINT = ClassifierLoss(4, 0.0), ClassifierLoss(4, 0.7)
SOME = np.array([0, 5, 6, 31])  # rows without an image


def with_padding(number):
    """A batch in which some rows are without an image, as batches by class have them."""
    images = batch(number)
    images.weights[SOME], images.indices[SOME] = 0, -1
    return images


def trained(devices, steps, batches=batch, **options):
    """Copies on the host of the states of some steps, the initial one first, and the metrics of each."""
    parts = parts_on(devices, **options)
    state = parts.initial_state()
    states, metrics = [jax.tree.map(np.array, state)], []
    for number in range(steps):
        state, found = parts.step(state, split_batch(batches(number), parts.mesh), HYPER)
        states.append(jax.tree.map(np.array, state))
        metrics.append(jax.device_get(found))
    return states, metrics


@jax.jit
def written_out(carried, examples, step, weight, added):
    """A step on one device: the encoder learns weight times the cross-entropy, the classifier `added` times."""
    params, batch_stats, classifier, trace, classifier_trace = carried
    key = jax.random.fold_in(stream_key(HYPER.seed, VIEWS_STREAM), step // STEPS_PER_EPOCH)
    images, model = VIEWS(key, examples.images, examples.indices), small_model(None, jnp.float64)
    labels, live = jnp.tile(examples.labels, 2), jnp.tile(examples.weights, 2)

    def cross_entropy(classifier, features):
        logits = features @ classifier["linear"]["kernel"] + classifier["linear"]["bias"]
        log_p = jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]
        right = jnp.sum(live * (jnp.argmax(logits, axis=1) == labels)) / jnp.sum(live)
        return -jnp.sum(live * log_p) / jnp.sum(live), right

    def loss_of(params):
        variables = {"params": params, "batch_stats": batch_stats}
        (rows, features), updated = model.apply(
            variables, images, train=True, mutable=["batch_stats"], method="with_features"
        )
        loss = losses.tcl_loss(rows, labels, temperature=0.2, k1=50.0, k2=1.5, weights=live)
        total = loss + weight * cross_entropy(classifier, features)[0]
        return total, (loss, features, updated["batch_stats"])

    (_, (loss, features, batch_stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
    (entropy, right), of_classifier = jax.value_and_grad(cross_entropy, has_aux=True)(classifier, features)

    def sgd(params, trace, gradients):
        trace = jax.tree.map(lambda v, g, p: 0.9 * v + g + 1e-3 * p, trace, gradients, params)
        return jax.tree.map(lambda p, v: p - HYPER.learning_rate * v, params, trace), trace

    params, trace = sgd(params, trace, gradients)
    of_classifier = jax.tree.map(lambda g: added * g, of_classifier)
    classifier, classifier_trace = sgd(classifier, classifier_trace, of_classifier)
    return (params, batch_stats, classifier, trace, classifier_trace), (loss, entropy, right)


@pytest.mark.parametrize(
    ("devices", "classifier", "batches"),
    [(8, DETACHED, with_padding), *slow((1, JOINT, with_padding), (8, JOINT, batch))],
)
def test_training_is_that_written_out(devices, classifier, batches):
    options = dict(param_dtype=jnp.float64, classifier=classifier, weighted=batches is with_padding)
    with jax.enable_x64(True):
        states, metrics = trained(devices, 4, batches, **options)
        start = states[0]
        carried = (
            start.params,
            start.batch_stats,
            start.classifier.params,
            start.opt_state[1].trace,
            start.classifier.opt_state[1].trace,
        )
        for step, found in enumerate(metrics):
            weight = classifier.weight
            carried, expected = written_out(carried, batches(step), step, weight, weight or 1.0)
            names = ("loss", "classifier_loss", "classifier_accuracy")
            np.testing.assert_allclose([found[name] for name in names], expected, rtol=1e-6)
    last = states[-1]
    found = last.params, last.batch_stats, last.classifier.params, last.opt_state[1].trace
    assert largest_difference(found, carried[:4]) <= 1e-7
    assert largest_difference(last.classifier.params, start.classifier.params) > 1e-2


@pytest.mark.slow
def test_a_detached_classifier_leaves_training_as_it_is():
    (without, alone), (along, metrics), (joint, _) = (
        trained(1, steps=2, classifier=classifier) for classifier in (None, DETACHED, JOINT)
    )
    # The flags of the tests leave the last bits to all that is in a program.
    assert largest_difference(along[-1]._replace(classifier=None), without[-1]) <= 1e-5
    assert metrics[0].keys() - alone[0].keys() == {"classifier_loss", "classifier_accuracy"}
    assert largest_difference(joint[-1].params["encoder"], along[-1].params["encoder"]) > 1e-4


OPTIONS = {
    "plain": dict(),
    "average": dict(objective="ntxent", ema_decay=0.9, skip_not_finite=True, devices=8),
    "queue": dict(objective="supcon", queue_size=4 * IMAGES, momentum_encoder=0.5, learn_temperature=True),
    "parts of a batch on eight": dict(sync_batch_norm=False, micro_batches=2, devices=8),
    "lars": dict(optimizer_name="lars", micro_batches=4),
}


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_detached_classifier_leaves_every_bit_of_training_as_it_is(options):
    without, along = (
        compiled_as_in_use(**{"devices": 1} | options, classifier=classifier)
        for classifier in (None, DETACHED)
    )
    jax.tree.map(np.testing.assert_array_equal, along._replace(classifier=None), without)


def compiled_as_in_use(devices, **options):
    """The state after two steps of a program without the flags of the tests."""
    parts = parts_on(devices, **options)
    state, flags = (
        parts.initial_state(),
        {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True},
    )
    first, second = (split_batch(batch(number), parts.mesh) for number in range(2))
    step = parts.step.lower(state, first, HYPER).compile(flags)
    state, _ = step(step(state, first, HYPER)[0], second, HYPER)
    return jax.tree.map(np.array, state)


@pytest.mark.slow
def test_the_gradient_of_a_detached_classifier_by_the_features_is_0():
    features = np.random.default_rng(0).normal(size=(2 * IMAGES, 3)).astype(np.float32)
    state = DETACHED.begin(
        features, make_optimizer("sgd", momentum=0, weight_decay=0, decay="all"), jax.random.key(0)
    )

    def gradient(features, classifier):
        def loss(features):
            return classifier.of(state.params, features, batch())[0]

        return jax.shard_map(jax.grad(loss), mesh=make_mesh(1), in_specs=P(), out_specs=P())(features)

    assert not np.any(gradient(features, DETACHED))
    assert np.all(gradient(features, JOINT))


def test_a_state_without_a_classifier_is_stored_as_ever():
    assert "classifier" not in parts_on(1).initial_state().items()["training"]


@pytest.mark.slow
@pytest.mark.parametrize("classifier", [JOINT, DETACHED])
def test_a_run_continued_from_a_checkpoint_is_the_undisturbed_one_bit_for_bit(classifier, tmp_path):
    parts = parts_on(8, classifier=classifier)
    states, _ = trained(8, 4, classifier=classifier)
    directory = epath.Path(tmp_path / "checkpoints")
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(replicate(states[2], parts.mesh), Position(1))
    with Checkpoints(directory) as checkpoints:
        state, _ = checkpoints.restore_latest(jax.eval_shape(parts.initial_state), parts.mesh)
    for number in (2, 3):
        state, _ = parts.step(state, split_batch(batch(number), parts.mesh), HYPER)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.array, state), states[4])


@pytest.mark.slow
def test_members_of_a_sweep_have_their_own():
    parts = parts_on(1, classifier=DETACHED)
    first, hypers = split_batch(batch(), parts.mesh), [HYPER, HYPER._replace(learning_rate=np.float32(0.2))]
    found = []
    for step in (OneByOne(parts.step), AtOnce(parts.device_step, parts.mesh)):
        states = step.start([parts.initial_state(seed) for seed in (1, 2)])
        states, metrics = step(states, [first, first], hypers)
        found.append(
            [(step.member(states, n).classifier.params, metrics[n]["classifier_loss"]) for n in range(2)]
        )
        found[-1] = jax.tree.map(np.array, found[-1])
    assert largest_difference(*found) <= 1e-5
    assert largest_difference(*found[0]) > 1e-2


@pytest.mark.slow
def test_a_step_that_is_skipped_leaves_the_classifier_alone():
    parts = parts_on(1, classifier=JOINT, skip_not_finite=True)
    hyper = HYPER._replace(temperature=np.float32(np.nan))
    before = jax.tree.map(np.array, parts.initial_state().classifier)
    after, metrics = parts.step(parts.initial_state(), split_batch(batch(), parts.mesh), hyper)
    assert metrics["skipped"] == 1
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.array, after.classifier), before)
