"""From a config to an experiment: its data, its program and its settings."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from tcl_jax.augment.views import Views
from tcl_jax.data import Dataset, Split, steps_per_epoch
from tcl_jax.errors import UserError
from tcl_jax.evaluate import Evaluator, make_validate
from tcl_jax.evaluate.probe import ProbeSettings
from tcl_jax.experiment.data import INIT_FROM, Data, check_classes, load_data, refuse_other_data
from tcl_jax.experiment.parts import Parts, make_parts
from tcl_jax.experiment.program import Facts, Program, Settings, epoch_of, make_program, make_settings
from tcl_jax.models import ContrastiveModel
from tcl_jax.models.description import EncoderDescription
from tcl_jax.models.encode import Encode
from tcl_jax.parallel import make_mesh
from tcl_jax.train.learning_rate import learning_rates
from tcl_jax.train.member import Validation


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that training and evaluation of one run are made of.

    Attributes:
      config: of the run.
      data: what it trains on, and is evaluated on.
      beginning: what these data were when the run began, by the group of the config that names them, and what
        "model.init_from" was; as `Workdir.read_data` gives it.
      facts: of the training data.
      program: shared by the members of a sweep.
      settings: of this run.
      validation: the metric of the held-out images; None where none are held out.
    """

    config: ConfigDict
    data: Data
    beginning: Mapping[str, Any]
    facts: Facts
    program: Program
    settings: Settings
    validation: Validation | None

    @property
    def mesh(self) -> Mesh:
        """All devices."""
        return self.program.parts.mesh

    @property
    def dataset(self) -> Dataset:
        """The data set that is trained on."""
        return self.data.training

    @property
    def evaluator(self) -> Evaluator | None:
        """For the final evaluation; None without data for it."""
        program = self.program
        return make_evaluator(
            self.config,
            program.parts,
            self.data.evaluated,
            outliers=self.data.outliers,
            trained_class_names=self.dataset.class_names,
            model=program.model,
            encode=program.encode,
            probe_views=program.probe_views,
        )

    def describe_encoder(self, config_name: str) -> dict[str, Any]:
        """All that is needed to use the encoder, as words and numbers."""
        config, facts = self.config, self.facts
        return EncoderDescription(
            model=config.model.name,
            stem=config.model.stem,
            width=config.model.width,
            precision=config.train.precision,
            projection_dim=config.model.projection_dim,
            head=self.program.parts.objective.head,
            weights="average" if self.program.keeps_average else "trained",
            image_shape=facts.image_shape,
            mean=facts.mean,
            std=facts.std,
            class_names=facts.class_names,
            config_name=config_name,
            dataset=self.dataset.name,
            loss=config.loss.name,
        )._asdict()


def build_experiment(
    config: ConfigDict, *, begins: bool = False, began_with: Sequence[Mapping[str, Any]] = ()
) -> Experiment:
    """Read and check every field of `config`, load the data, and make the parts. Nothing is written.

    Args:
      begins: whether the run begins, and so reads model.init_from.
      began_with: the data of the runs that it continues, as `Workdir.read_data` gives those of each.

    Raises:
      UserError: a field with a value that cannot be, or data that cannot be used, or are not those of the runs.
    """
    parts = make_parts(config, make_mesh(), begins=begins)
    data = load_data(config)
    dataset = data.training
    beginning: Mapping[str, Any] = data.identities
    if parts.initial_encoder is not None:
        origin = parts.initial_encoder.origin(beginning["data"]["mean"], beginning["data"]["std"])
        beginning = {**beginning, INIT_FROM: origin}
    for began in began_with:
        refuse_other_data(began, beginning)
    check_classes(config, data, by_class=parts.objective.by_class)
    beginning = next((began for began in began_with if began), beginning)
    normalised_by = beginning.get(INIT_FROM, beginning["data"])
    height, width, channels = dataset.train.images.shape[1:]
    facts = Facts(
        (height, width, channels),
        len(dataset.train_class_names),
        len(dataset.train.images),
        mean=tuple(normalised_by["mean"]),
        std=tuple(normalised_by["std"]),
        class_names=dataset.train_class_names,
    )
    program = make_program(config, parts, facts, dataset.train.labels)
    # The probe comes after hours of training: its settings are tried now.
    per_epoch = steps_per_epoch(facts.num_images, config.probe.batch_size, field="probe.batch_size")
    probe_steps = config.probe.epochs * per_epoch
    learning_rates(config.probe.learning_rate, total_steps=probe_steps, field="probe.learning_rate")
    return _with_settings(config, data, beginning, facts, program)


def member_of(experiment: Experiment, config: ConfigDict) -> Experiment:
    """The experiment of a member of a sweep: the settings are its own, what is compiled is shared."""
    return _with_settings(config, experiment.data, experiment.beginning, experiment.facts, experiment.program)


def _with_settings(
    config: ConfigDict, data: Data, beginning: Mapping[str, Any], facts: Facts, program: Program
) -> Experiment:
    settings = make_settings(config, facts, program.schedule)
    steps, _ = epoch_of(config, facts, data.training.train.labels)
    if steps != program.schedule.steps_per_epoch:
        raise UserError(
            f"data.images_per_class is {config.data.images_per_class}, with which an epoch has {steps} steps for seed "
            f"{config.seed} and {program.schedule.steps_per_epoch} for another seed of the sweep, expected equally "
            "many: set validation.images to 0, so that all train on the same images, or train each alone."
        )
    validation = None
    if len(settings.split.validation):
        name, metric = program.parts.validation_metric
        measure = make_validate(
            metric,
            program.encode,
            data.training.train,
            settings.split,
            num_classes=facts.num_classes,
            batch_size=program.schedule.images_at_once,
            mesh=program.parts.mesh,
            true_labels=data.training.true_labels,
        )
        validation = Validation(name, measure)
    return Experiment(config, data, beginning, facts, program, settings, validation)


def make_evaluator(
    config: ConfigDict,
    parts: Parts,
    dataset: Dataset | None,
    *,
    outliers: Split | None,
    trained_class_names: tuple[str, ...],
    model: ContrastiveModel,
    encode: Encode,
    probe_views: Views,
) -> Evaluator | None:
    """The evaluation of a model on the test split of a data set; None where there is none."""
    if dataset is None or dataset.test is None:
        return None
    return Evaluator(
        train=dataset.train,
        test=dataset.test,
        class_names=dataset.class_names,
        model=model,
        encode=encode,
        metrics=parts.metrics,
        probe_views=probe_views,
        probe=ProbeSettings(config.probe.epochs, config.probe.learning_rate, config.probe.batch_size),
        seed=config.seed,
        batch_size=config.train.batch_size // parts.micro_batches,
        mesh=parts.mesh,
        outliers=outliers,
        trained_class_names=trained_class_names,
    )
