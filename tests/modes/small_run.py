"""A run of a narrow network that was never trained: its checkpoints hold drawn numbers, so that it costs no time."""

import functools
import json

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import digits_tcl
from tcl_jax.experiment.parts import make_parts
from tcl_jax.experiment.program import Facts, Program, make_program
from tcl_jax.models.description import EncoderDescription
from tcl_jax.parallel import make_mesh, replicate
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.stored import Position
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.state import TrainState

FACTS = Facts((12, 8, 3), 4, 100, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), ("ant", "bee", "cat", "dog"))


def small_config() -> ConfigDict:
    config = digits_tcl.get_config()
    config.model.update(width=2, projection_dim=6)
    config.train.update(batch_size=4, micro_batch_size=2, ema_decay=0.9, warmup_epochs=0)  # not for 8 devices
    config.validation.images = 20
    return config


def program_of(
    config: ConfigDict, *, facts: Facts = FACTS, devices: int = 1, begins: bool = False
) -> Program:
    mesh = make_mesh(devices)
    return make_program(config, make_parts(config, mesh, begins=begins), facts)


def description_of(config: ConfigDict) -> EncoderDescription:
    return EncoderDescription(
        model=config.model.name,
        stem=config.model.stem,
        width=config.model.width,
        precision=config.train.precision,
        projection_dim=config.model.projection_dim,
        head="classifier" if config.loss.name == "cross_entropy" else "projection",
        weights="average" if config.train.ema_decay > 0 else "trained",
        image_shape=FACTS.image_shape,
        mean=FACTS.mean,
        std=FACTS.std,
        class_names=FACTS.class_names,
        config_name="small",
        dataset="digits",
        loss=config.loss.name,
    )


def state_shapes(config: ConfigDict) -> TrainState:
    """Shapes of a state, traced once for each config."""
    return _state_shapes(config.to_json())


@functools.cache
def _state_shapes(text: str) -> TrainState:
    config = small_config()
    config.update(json.loads(text))
    return program_of(config).state_shapes()


def drawn_state(config: ConfigDict, *, step: int) -> TrainState:
    """A state whose numbers, running statistics and moving average among them, are those of no other step."""
    rng = np.random.default_rng(step)

    def draw(path, leaf):
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.full(leaf.shape, step, leaf.dtype)
        if getattr(path[-1], "key", "") in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)
        return (rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]) + 1)).astype(leaf.dtype)

    template = state_shapes(config)
    return replicate(jax.tree_util.tree_map_with_path(draw, template), make_mesh())


def write_run(path, config: ConfigDict | None = None, *, validation_knn=(0.9, 0.5)) -> Workdir:
    """A run with a checkpoint of step 1, 2, ... for each accuracy."""
    config = small_config() if config is None else config
    workdir = Workdir(str(path))
    workdir.claim("small", config, encoder=description_of(config)._asdict())
    with Checkpoints(workdir.checkpoints) as checkpoints:
        for step, accuracy in enumerate(validation_knn, start=1):
            checkpoints.save(drawn_state(config, step=step), Position(), accuracy)
    return workdir


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *FACTS.image_shape)).astype(np.uint8)


def description_64(**fields) -> EncoderDescription:
    """Of an encoder of torchvision's width for colour images; the rest as in `fields`."""
    known = EncoderDescription(
        model="resnet50",
        stem="imagenet",
        width=64,
        precision="auto",
        projection_dim=128,
        head="projection",
        weights="trained",
        image_shape=(32, 32, 3),
        mean=FACTS.mean,
        std=FACTS.std,
        class_names=FACTS.class_names,
        config_name="small",
        dataset="digits",
        loss="tcl",
        checkpoint="latest",
        step=1,
        params_sha256="",
    )
    return known._replace(**fields)
