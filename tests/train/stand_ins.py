"""What stands around the loop and the curve in their tests, and keeps what it was given."""

import types

import jax.numpy as jnp
import numpy as np

from tcl_jax.data import Split
from tcl_jax.parallel import make_mesh
from tcl_jax.run.stored import Position
from tcl_jax.train import curve as curve_module
from tcl_jax.train.curve import Curve
from tcl_jax.train.loop import train
from tcl_jax.train.member import Member, Validation
from tcl_jax.train.schedule import Schedule
from tcl_jax.train.state import Hyper, TrainState
from tcl_jax.train.sweep_step import OneByOne

IMAGES, BATCH, EPOCHS, SEED = 50, 16, 3, 5
PER_EPOCH = IMAGES // BATCH
RATES = np.linspace(1, 2, EPOCHS * PER_EPOCH, dtype=np.float32)
EXAMPLES = np.arange(IMAGES, dtype=np.int32)
SPLIT = Split(np.zeros((IMAGES, 2, 2, 1), np.uint8), np.zeros(IMAGES, np.int32))


class Recorder:
    """Stands for step, log and checkpoints of one run, and keeps what each was given."""

    def __init__(self):
        self.rates, self.indices, self.records, self.saved = [], [], [], []
        self.order = []  # records and checkpoints in the order they came

    def step(self, state, batch, hyper):
        self.rates.append(float(hyper.learning_rate))
        self.indices.append(np.asarray(batch.indices))
        assert float(hyper.k1) == 7
        done = state._replace(step=state.step + 1)
        return done, {
            "loss": jnp.float32(done.step) ** 2,
            "alignment": done.step * jnp.float32(hyper.diagnose),
        }

    def append(self, record):
        (self.order if "validation_knn" in record else self.records).append(record)

    def save(self, state, position, value):
        self.saved.append((int(state.step), position.epoch, position.train_seconds))
        self.order.append((int(state.step), value))

    def latest_step(self):
        return None


class Learning(Recorder):
    """Its parameter counts the steps, so that an accuracy shows of which state it was taken."""

    def step(self, state, batch, hyper):
        state, metrics = super().step(state, batch, hyper)
        return state._replace(params={"w": state.params["w"] + 1}), metrics


def run_loop(
    first_step=0,
    position=None,
    every_epochs=2,
    recorder=None,
    examples=EXAMPLES,
    validate=None,
    split=SPLIT,
    images_per_class=0,
    **options,
):
    recorder = recorder or Recorder()
    state = TrainState(jnp.int32(first_step), {"w": jnp.zeros(2)}, {}, (), None, jnp.int32(0))
    (outcome,) = train(
        OneByOne(recorder.step),
        [state],
        position or Position(),
        members=[member(recorder, examples=examples, validate=validate)],
        schedule=schedule(every_epochs)._replace(images_per_class=images_per_class),
        split=split,
        mesh=make_mesh(8),
        **options,
    )
    assert outcome.failure is None
    return recorder, (outcome.state, outcome.position)


def schedule(every_epochs=2):
    return Schedule(BATCH, 1, 2, EPOCHS, PER_EPOCH, log_every_steps=2, checkpoint_every_epochs=every_epochs)


def member(recorder, *, examples=EXAMPLES, validate=None, seed=SEED, name="run"):
    return Member(
        name=name,
        hyper=Hyper(0.0, 0.1, np.float32(7), 1.0, np.uint32(seed)),
        learning_rates=RATES,
        examples=examples,
        validation=validate and Validation("knn", validate),
        log=recorder,
        checkpoints=recorder,
    )


VIEWS_OF_STEP = 8


class Loss:
    """Stands for a loss on the device, there or not yet there; waiting for it lets the clock go on."""

    def __init__(self, clock, value=1.0, ready_at=0.0):
        self.clock, self.value, self.ready_at = clock, value, ready_at

    def is_ready(self):
        return self.clock.now >= self.ready_at

    def block_until_ready(self):
        self.clock.now = max(self.clock.now, self.ready_at)
        return self

    def __array__(self, dtype=None, copy=None):
        assert self.is_ready()
        return np.asarray(self.value, np.float32)


class Bench:
    """A curve with everything around it."""

    def __init__(self, monkeypatch):
        self.now, self.records, self.shown, self.steps = 0.0, [], "", 0
        monkeypatch.setattr(curve_module.time, "monotonic", lambda: self.now)
        bar = types.SimpleNamespace(update=lambda n: None, set_postfix_str=self.show)
        checkpoints = types.SimpleNamespace(latest_step=lambda: 3)
        self.curve = Curve(types.SimpleNamespace(append=self.records.append), bar, VIEWS_OF_STEP, checkpoints)

    def show(self, text, refresh):
        self.shown = text

    def step(self, at, data_seconds=0.0, **loss):
        self.now, self.steps = at, self.steps + 1
        self.curve.add(self.steps, 0, 0.1, {"loss": Loss(self, **loss)}, data_seconds)

    def rates(self):
        return [record["views_per_second"] for record in self.records]
