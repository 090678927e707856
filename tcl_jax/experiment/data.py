"""The data of an experiment: what it trains on and what it is evaluated on, and whether a run began with the same."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from tcl_jax.data import (
    Dataset,
    DatasetFacts,
    Split,
    Subset,
    add_label_noise,
    check_label_noise,
    dataset_facts,
    load_dataset,
    subset_facts,
    take_subset,
)
from tcl_jax.data.fit import fit_images
from tcl_jax.data.identity import differences, identity
from tcl_jax.data.subset import parse_classes
from tcl_jax.errors import UserError
from tcl_jax.resolve import is_own

_OWN, _OTHER, _OUTLIERS = "data", "data.evaluate_on", "evaluation.outliers"  # groups of the config
INIT_FROM = "model.init_from"
"""The field that names an encoder to begin with, and what a run that began with one keeps of it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """What there is.

    Attributes:
      training: the data that are trained on.
      evaluated: those by whose test split the encoder is judged, if any.
      outliers: images of other data, which are to be distinguished from that test split, if any.
    """

    training: Dataset
    evaluated: Dataset | None
    outliers: Split | None = None

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
    image_shape = training.train.images.shape[1:]
    evaluated = training if training.test is not None else None
    if elsewhere:
        evaluated = load_evaluated(config, image_shape)
    return Data(training, evaluated, load_outliers(config, image_shape) if evaluated else None)


def load_facts(config: ConfigDict) -> DatasetFacts:
    """What is known of the training images without reading them.

    Raises:
      UserError: as `dataset_facts`, or a subset that cannot be.
    """
    subset = _subset(config)
    facts = dataset_facts(
        config.data.name,
        data_dir=config.data.data_dir,
        train_split=config.data.train_split,
        test_split=config.data.test_split,
        image_size=config.data.image_size,
        may_overlap=bool(subset.train_classes),
    )
    facts = subset_facts(facts, subset)
    check_label_noise(config.data.label_noise, facts.num_classes)
    return facts


def load_evaluated(config: ConfigDict, image_shape: tuple[int, ...]) -> Dataset:
    """The data set that `config.data.evaluate_on` names, or where it names none that of `config.data`.

    Args:
      image_shape: (h, w, c) of the training images, to which others are scaled, cut and converted.

    Raises:
      UserError: as `load_dataset`, no test split, or images whose channels cannot be converted.
    """
    group = _OTHER if config.data.evaluate_on.name else _OWN
    source = config.data.evaluate_on if group == _OTHER else config.data
    try:
        dataset = _load(
            config,
            source,
            data_dir=source.data_dir or config.data.data_dir,
            image_size=_size(config, image_shape),
        )
    except UserError as error:
        raise UserError(f"Of {_OTHER}: {error}" if group == _OTHER else str(error)) from error
    if dataset.test is None:
        raise UserError(f"{group}.test_split is '', expected a split to evaluate on: name one.")
    train, test = _fit([dataset.train, dataset.test], image_shape, source.name, group)
    return dataclasses.replace(dataset, train=train, test=test)


def load_outliers(config: ConfigDict, image_shape: tuple[int, ...]) -> Split | None:
    """The test split that `config.evaluation.outliers` names, with images as large and as deep as those of training.

    Args:
      image_shape: (h, w, c) of the training images.

    Returns:
      None where it names none. Labels may be anything: nothing asks for them.

    Raises:
      UserError: as `load_dataset`, or images whose channels cannot be converted.
    """
    source = config.evaluation.outliers
    if not source.name:
        return None
    try:
        dataset = load_dataset(
            source.name,
            data_dir=source.data_dir or config.data.data_dir,
            # Read alone, and for training, for which images need no class; a function of the user's own decides itself
            # what its test split is.
            train_split=source.test_split,
            test_split=source.test_split if is_own(source.name) else "",
            image_size=_size(config, image_shape),
            skip_unreadable=config.data.skip_unreadable,
            streaming=config.data.streaming,
        )
    except UserError as error:
        said = re.sub(r"\bdata\.(name|data_dir)\b", rf"{_OUTLIERS}.\1", str(error))
        said = re.sub(r"\bdata\.(train|test)_split\b", f"{_OUTLIERS}.test_split", said)
        raise UserError(said if _OUTLIERS in said else f"Of {_OUTLIERS}: {said}") from error
    (split,) = _fit([dataset.test or dataset.train], image_shape, source.name, _OUTLIERS)
    return split


def _size(config: ConfigDict, image_shape: tuple[int, ...]) -> int:
    """To which other images are scaled where they are decoded; those of any other shape are fitted afterwards."""
    height, width, _ = image_shape
    return height if height == width else config.data.image_size


def _fit(splits: Sequence[Split], image_shape: tuple[int, ...], name: str, group: str) -> list[Split]:
    """The splits with images of this shape; a line says so where colour is lost or made up."""
    images = splits[0].images
    try:
        fitted = [split._replace(images=fit_images(split.images, image_shape)) for split in splits]
    except ValueError as error:
        raise UserError(
            f"{group}.name is '{name}', whose images are {_by(images.shape[1:])}, expected {_by(image_shape)} as in "
            "training, or 1, 3 or 4 channels on both sides, which can be converted: name such images."
        ) from error
    if images.shape[-1] != image_shape[-1]:
        print(
            f"Images of '{name}' are converted from {images.shape[-1]} to {image_shape[-1]} channels, as in training."
        )
    return fitted


def _load(config: ConfigDict, source: ConfigDict, **changed: Any) -> Dataset:
    own = source is config.data  # others stay whole, with the labels that they have
    subset = _subset(config) if own else Subset()
    options = dict(
        data_dir=source.data_dir,
        train_split=source.train_split,
        test_split=source.test_split,
        image_size=config.data.image_size,
        skip_unreadable=config.data.skip_unreadable,
        streaming=config.data.streaming,
        may_overlap=bool(subset.train_classes),
    )
    dataset = take_subset(load_dataset(source.name, **(options | changed)), subset)
    noise = config.data.label_noise if own else 0.0
    return add_label_noise(dataset, noise, seed=config.data.subset_seed)


def _subset(config: ConfigDict) -> Subset:
    subset = Subset(*(config.data[field] for field in Subset._fields))
    parse_classes(subset.train_classes)  # refuses another form before images are read
    return subset


def refuse_other_data(began: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises a UserError where the data `now` are not those with which a run began, both as `Data.identities`.

    Nor may the encoder be another that other runs of a sweep, which begin `now`, are to begin with.
    """
    for group in (began.keys() & now.keys()) - {INIT_FROM}:
        if found := differences(began[group], now[group]):
            raise UserError(
                f"The data of {group} are not those with which the run began: {'; '.join(found)}. Give the same data "
                "to continue, or train anew with another --workdir; other data to evaluate on are named by "
                "--config.data.evaluate_on.name and --config.data.evaluate_on.data_dir."
            )
    if len({each[INIT_FROM]["params_sha256"] for each in (began, now) if INIT_FROM in each}) > 1:
        raise UserError(
            f"{INIT_FROM} is {now[INIT_FROM]['path']}, whose encoder is not the one that other runs of this sweep "
            "began with: give that one, or train all of them anew with another --workdir."
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
