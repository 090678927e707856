"""A plan says what a run would need, and neither reads, trains nor writes anything for it."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import digits_tcl
from tcl_jax.data import DatasetFacts
from tcl_jax.errors import UserError
from tcl_jax.experiment.parts import make_parts
from tcl_jax.experiment.program import Facts, make_program
from tcl_jax.losses.arguments import best_block_size
from tcl_jax.models.description import encoder_dtype
from tcl_jax.parallel import make_mesh
from tcl_jax.plan import estimate
from tcl_jax.plan.devices import Accelerator
from tcl_jax.plan.estimate import PlannedRun, make_plan
from tcl_jax.plan.table import format_plan
from tcl_jax.train.state import Hyper, TrainState

pytestmark = pytest.mark.xdist_group("plan")  # they share what is compiled


@pytest.fixture(scope="module")
def variables():
    """The real parameters and statistics of the network that is planned."""
    facts, config = Facts((8, 8, 1), 10, 1437, (0.5,), (0.5,)), digits_tcl.get_config()
    return make_program(config, make_parts(config, make_mesh(8)), facts).initial_state(0).variables


def without_dtype():
    return nn.Dense(3)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_parameters_memory_and_steps_are_those_of_the_run(planned, variables):
    (_, found), number = planned(8), count(variables["params"])
    assert (found["parameters"], found["parameter_bytes"]) == (number, 4 * number)
    assert found["optimizer_bytes"] == 4 * number  # one momentum for each
    # Every device has the state, and its eight images with labels, indices and weights.
    assert found["state_bytes"] == 8 * number + 4 * count(variables["batch_stats"]) + 2 * 4
    of_batch = 8 * (8 * 8 + 3 * 4)
    assert found["memory"]["arguments"] == pytest.approx(found["state_bytes"] + of_batch, abs=64)
    assert found["memory"]["aliased"] == pytest.approx(found["state_bytes"], abs=64)
    assert found["memory"]["total"] >= found["state_bytes"] + found["memory"]["temporaries"]
    assert (found["steps"], found["rows"]) == ((1437 - 100) // 64 * 60, 128)
    assert found["devices"] == {"platform": "cpu", "kind": "cpu", "count": 8}
    assert found["step_seconds"] is None  # the peak of a CPU is not known


def test_flops_by_formula_are_near_those_of_the_compiled_program(planned):
    """The program has everything else on top, and the loss a second time for diagnostics."""
    flops = planned(8)[1]["flops"]
    assert flops["loss_whole"] == 6 * 128**2 * 128
    assert flops["formula"] == (flops["network_whole"] + flops["loss_whole"]) / 8
    assert 1.0 < flops["compiled"] / flops["formula"] < 1.25


@pytest.mark.slow
def test_a_queue_and_its_momentum_encoder_are_counted(planned):
    fields = {"loss__queue_size": 256, "loss__momentum_encoder": 0.99, "model__width": 2}
    run, found = planned(1, **fields)
    _, plain = planned(1, model__width=2)
    variables = 4 * count(run.state.variables)
    assert found["state_bytes"] - plain["state_bytes"] == 256 * (4 * 128 + 4) + variables
    more = found["memory"]["arguments"] - plain["memory"]["arguments"]
    assert more == pytest.approx(256 * (4 * 128 + 4) + variables, abs=64)
    assert found["flops"]["loss_whole"] == 6 * 128 * (128 + 256) * 128
    assert 3 * found["flops"]["network_whole"] == 4 * plain["flops"]["network_whole"]
    assert found["flops"]["compiled"] > plain["flops"]["compiled"]
    table = format_plan({"config_name": "own", **found})
    assert "256 rows of past batches" in table
    assert "loss, 6 n (n + m) d" in table


def own_run(mesh, *, head="projection", compute_dtype=None):
    """A run of an encoder that is nothing like a ResNet: a product in a loop, and no BatchNorm."""

    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            kernel = self.param("kernel", nn.initializers.ones, (12, 12))
            x, _ = jax.lax.scan(lambda x, _: (x @ kernel, None), images.reshape(len(images), -1), length=3)
            return nn.Dense(5, use_bias=False)(x)

    model = Encoder()
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 2, 2, 3)), train=False))
    params = params["params"]
    number = jax.ShapeDtypeStruct((), jnp.int32)

    def step(state, batch, hyper):
        return state, batch.images.astype(jnp.float32).mean() * hyper.temperature

    return PlannedRun(
        dataset="own",
        data=DatasetFacts((2, 2, 3), 10, 800, "counted"),
        model=model,
        step=jax.jit(step, donate_argnums=0),
        state=TrainState(number, params, {}, params, None, number),
        hyper=Hyper(*(np.float32(0.1) for _ in range(4)), np.uint32(0)),
        batch_size=8,
        num_views=2,
        micro_batches=1,
        num_steps=100,
        recomputed=1,
        queue_size=0,
        momentum_encoder=False,
        compute_dtype=compute_dtype,
        head=head,
    )


@pytest.mark.parametrize(
    ("head", "dtype", "loss", "peak"),
    [
        ("projection", None, 6 * 16**2 * 5, 1e3),
        ("projection", jnp.dtype(jnp.bfloat16), 6 * 16**2 * 5, 1e6),
        ("classifier", None, 0, 1e3),
    ],
)
def test_an_encoder_of_another_kind_has_a_plan(monkeypatch, head, dtype, loss, peak):
    monkeypatch.setattr(
        estimate, "planned_run", lambda _, mesh: own_run(mesh, head=head, compute_dtype=dtype)
    )
    monkeypatch.setattr(estimate, "find_accelerator", lambda kind: Accelerator(bfloat16=1e6, float32=1e3))
    found = make_plan(digits_tcl.get_config(), make_mesh(4), peak_share=0.5)
    assert found["parameters"] == 12 * 12 + 12 * 5
    assert found["state_bytes"] == 2 * 4 * found["parameters"] + 2 * 4
    network = 4 * 16 * 2 * (3 * 12 * 12 + 12 * 5)  # three passes and a recomputed one
    assert (found["flops"]["network_whole"], found["flops"]["loss_whole"]) == (network, loss)
    # On four devices at half of their peak; the loss is always in float32.
    seconds = (network / peak + loss / 1e3) / 4 / 0.5
    assert found["step_seconds"] == pytest.approx(seconds)
    assert found["views_per_second"] == pytest.approx(16 / seconds)
    assert found["training_hours"] == pytest.approx(100 * seconds / 3600)
    assert f"{found['parameters']} (816 bytes)" in format_plan({"config_name": "own", **found})


def test_what_depends_on_the_platform_follows_the_mesh():
    """A plan for a TPU is made on a CPU."""
    tpu = types.SimpleNamespace(devices=np.array([types.SimpleNamespace(platform="tpu")]))
    assert encoder_dtype("resnet18", "auto", tpu) == jnp.bfloat16
    assert encoder_dtype("resnet18", "auto", make_mesh(1)) is None
    assert encoder_dtype(f"{__name__}:without_dtype", "auto", tpu) is None  # which an encoder must take
    assert encoder_dtype(f"{__name__}:without_dtype", "bfloat16", tpu) == jnp.bfloat16
    assert (best_block_size("cpu"), best_block_size("tpu")) == (512, 4096)


def test_a_step_too_large_for_the_memory_is_reported(monkeypatch):
    class Lowered:
        def compile(self):
            raise RuntimeError("RESOURCE_EXHAUSTED: Used 20G of 16G hbm.\nand more")

    step = types.SimpleNamespace(lower=lambda *shapes: Lowered())
    monkeypatch.setattr(estimate, "planned_run", lambda _, mesh: own_run(mesh)._replace(step=step))
    with pytest.raises(UserError, match=r"batch_size 8 does not fit .* \(Used 20G of 16G hbm\)") as caught:
        make_plan(digits_tcl.get_config(), make_mesh(8), peak_share=0.4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tests.modes.tiny_encoder:Tiny", "tests.plan.test_estimate:plain"])
def test_a_users_own_encoder_is_planned_by_its_name(tmp_path, name):
    config = digits_tcl.get_config()
    config.data.data_dir = str(tmp_path)
    config.update_from_flattened_dict(
        {"model.name": name, "train.batch_size": 16, "loss.name": "cross_entropy"}
    )
    found = make_plan(config, make_mesh(8), peak_share=0.5)
    assert found["flops"]["loss_whole"] == 0
    assert found["parameters"] > 0
    assert found["memory"]["total"] > found["state_bytes"]


def plain():
    class Plain(nn.Module):
        """Without BatchNorm."""

        @nn.compact
        def __call__(self, images):
            return nn.Dense(4)(images.mean(axis=(1, 2)))

    return Plain()


@pytest.mark.parametrize(
    ("fields", "images", "exact"),
    [
        ({"train_images_of_class": 100}, 1000, True),
        ({"train_classes": "0:5"}, 718, False),
        ({"train_classes": "5:", "train_split": "train+test", "test_split": "train+test"}, 898, False),
        ({"imbalance": 2.0, "train_classes": "0:2"}, 143 + 71, False),
    ],
)
def test_a_plan_is_of_the_images_that_are_trained_on(tmp_path, fields, images, exact):
    config = digits_tcl.get_config()
    config.data.update(data_dir=str(tmp_path), **fields)
    config.loss.update(name="cross_entropy", class_weights="balanced")
    config.validation.images = 0
    run = estimate.planned_run(config, make_mesh(1))
    assert run.data.num_images == images
    assert run.num_steps == config.train.epochs * (images // config.train.batch_size)
    assert run.data.source.endswith("of classes of one size") != exact
    assert run.model.head.num_classes == run.data.num_classes
