"""The data of an experiment: what it trains on and what it is evaluated on, and whether a run began with the same."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from tcl_jax.data import Dataset, load_dataset
from tcl_jax.data.identity import differences, identity
from tcl_jax.errors import UserError

_OWN, _OTHER = "data", "data.evaluate_on"  # the groups of the config


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """training: the data that are trained on. evaluated: those by whose test split the encoder is judged, if any."""

    training: Dataset
    evaluated: Dataset | None

    @functools.cached_property
    def identities(self) -> dict[str, dict[str, Any]]:
        """What makes these data those they are, by the group of the config that names them."""
        own = {_OWN: identity(self.training)}
        if self.evaluated is None or self.evaluated is self.training:
            return own
        return own | {_OTHER: identity(self.evaluated)}


def load_data(config: ConfigDict) -> Data:
    """Load what `config.data` names.

    Raises:
      UserError: as `load_dataset`, or images to be evaluated on that the encoder cannot take.
    """
    elsewhere = bool(config.data.evaluate_on.name)
    training = _load(config, config.data, test_split="" if elsewhere else config.data.test_split)
    if elsewhere:
        return Data(training, load_evaluated(config, training.train.images.shape[1:]))
    return Data(training, None if training.test is None else training)


def load_evaluated(config: ConfigDict, image_shape: tuple[int, ...]) -> Dataset:
    """The data set that `config.data.evaluate_on` names, or where it names none that of `config.data`.

    Args:
      image_shape: (h, w, c) of the training images; where those are square, others are scaled to their size.

    Raises:
      UserError: as `load_dataset`, no test split, or images of another shape.
    """
    group = _OTHER if config.data.evaluate_on.name else _OWN
    source = config.data.evaluate_on if group == _OTHER else config.data
    height, width, _ = image_shape
    try:
        dataset = _load(
            config,
            source,
            data_dir=source.data_dir or config.data.data_dir,
            image_size=height if height == width else config.data.image_size,
        )
    except UserError as error:
        raise UserError(f"Of {_OTHER}: {error}" if group == _OTHER else str(error)) from error
    found = dataset.train.images.shape[1:]
    if dataset.test is None:
        raise UserError(f"{group}.test_split is '', expected a split to evaluate on: name one.")
    if found != tuple(image_shape):
        raise UserError(
            f"{group}.name is '{source.name}', whose images are {_by(found)}, expected {_by(image_shape)} as in "
            "training: evaluate on such images."
        )
    return dataset


def _load(config: ConfigDict, source: ConfigDict, **changed: Any) -> Dataset:
    options = dict(
        data_dir=source.data_dir,
        train_split=source.train_split,
        test_split=source.test_split,
        image_size=config.data.image_size,
        skip_unreadable=config.data.skip_unreadable,
        streaming=config.data.streaming,
    )
    return load_dataset(source.name, **(options | changed))


def refuse_other_data(began: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises a UserError where the data `now` are not those with which a run began, both as `Data.identities`."""
    for group in began.keys() & now.keys():
        if found := differences(began[group], now[group]):
            raise UserError(
                f"The data of {group} are not those with which the run began: {'; '.join(found)}. Give the same data "
                "to continue, or train anew with another --workdir; other data to evaluate on are named by "
                "--config.data.evaluate_on.name and --config.data.evaluate_on.data_dir."
            )


def check_classes(config: ConfigDict, data: Data, *, by_class: bool) -> None:
    """Refuse what needs classes where images have none.

    Args:
      by_class: whether the loss makes positives, or targets, of classes.

    Raises:
      UserError: images without a class.
    """
    split, evaluated = data.training.train, data.evaluated
    without = (
        f"{int((split.labels < 0).sum()):,} of the {len(split.labels):,} training images are without a class"
    )
    if by_class and not split.is_labelled:
        raise UserError(
            f"loss.name is '{config.loss.name}', which learns from classes, but {without}: train without them, by "
            "--config.loss.labels=image, or name another data.train_split."
        )
    if config.data.images_per_class and not split.is_labelled:
        raise UserError(
            f"data.images_per_class is {config.data.images_per_class}, but {without}: set it to 0, or name another "
            "data.train_split."
        )
    if config.loss.classifier_weight >= 0 and not split.is_labelled:
        raise UserError(
            f"loss.classifier_weight is {config.loss.classifier_weight}, but {without}, of which a classifier could "
            "learn: set it to -1, or name another data.train_split."
        )
    if config.validation.images and not split.is_labelled:
        raise UserError(
            f"validation.images is {config.validation.images}, but {without}, and held-out images are judged by "
            "theirs: set --config.validation.images=0."
        )
    if evaluated is not None and not evaluated.train.is_labelled:
        raise UserError(
            f"The training images of '{evaluated.name}', with which the encoder is evaluated, are not all of a class: "
            "name a labelled split by --config.data.evaluate_on.name and --config.data.evaluate_on.train_split, or "
            "train without evaluation, by --config.data.test_split=''."
        )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
