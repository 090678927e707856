"""The studies of docs/reproduction.md: which runs, and by which commands."""

import importlib
import json
from typing import NamedTuple

from ml_collections import ConfigDict

from tcl_jax.experiment.grid import GridPoint, grid, parse_axes

METHODS = {
    "TCL": {},
    "SupCon": {"loss.name": "supcon"},
    "cross-entropy": {"loss.name": "cross_entropy"},
    "NT-Xent, no labels": {"loss.name": "ntxent", "loss.temperature": 0.5},
    "TCL, no labels, 3 views": {"loss.labels": "image", "augment.views": ("simaug",) * 3},
}
"""What each method changes in a config of configs/protocol.py, and nothing else."""

_WITH_LABELS = ("TCL", "SupCon", "cross-entropy")

_HUNDRED_EPOCHS = {
    "train.batch_size": 512,
    "train.epochs": 100,
    "train.learning_rate": 0.1,
    "train.warmup_epochs": 5,
    "probe.epochs": 10,
    "probe.learning_rate": 0.1,
    "evaluation.metrics": ("linear_probe", "knn"),
}

# An epoch has 55 steps in every row: batches by class would have one more or fewer with other numbers of images.
_LONG_TAIL = {
    "data.train_split": "train",
    "data.train_images_of_class": 1500,
    "data.imbalance": 100,
    "validation.images": 200,
}

# Steps of 256 images as 512 views take one core 0.9 s on FashionMNIST (28x28x1) and some 1.2 s on CIFAR-10 (32x32x3):
# all 50,000 images of the latter for a hundred epochs would take each run six hours of a core, a fifth of them for
# fifty epochs 0.6.
_NARROW = {
    "model.width": 8,
    "train.warmup_epochs": 1,
    "checkpoint.every_epochs": 2,
    "evaluation.metrics": ("linear_probe", "logistic_regression", "knn", "retrieval", "few_labels"),
}

# A run that diverges at a high rate has a poor end instead of none.
_PILOT = {"train.not_finite": "skip", "evaluation.metrics": ("knn",)}

_AGAINST_IMBALANCE = {
    "plain": {},
    "batches by class": {"data.images_per_class": 8},
    "class weights": {"loss.class_weights": "balanced"},
}

_SMALLEST = {"model.width": 1, "train.epochs": 1, "train.warmup_epochs": 0, "evaluation.metrics": ("knn",)}

_METHODS_ON_DIGITS = METHODS | {
    "TCL, no labels, 3 views": {"loss.labels": "image", "augment.views": ("crop_flip",) * 3}
}


class Row(NamedTuple):
    """Runs that differ in what varies within the study.

    Attributes:
      label: for people.
      folder: of its runs, in that of the study.
      settings: by config field.
      pilots: of each study, in this order, the best run of the row with this label decides the fields that the study
        sweeps.
    """

    label: str
    folder: str
    settings: dict[str, object]
    pilots: tuple[tuple[str, str], ...] = ()


class StudyRun(NamedTuple):
    """One training of a study, with its own value of all that varies within the study."""

    row: Row
    point: GridPoint

    @property
    def name(self) -> str:
        return f"{self.row.label}, {self.point.name}"


class Study(NamedTuple):
    """Attributes:
    config: the file in configs/, with its argument.
    rows: what is compared.
    sweep: fields and values of which each row has every combination, as --sweep takes them.
    about: what is the same in all rows, in a sentence for the page.
    reduced: whether this is less than the method is meant for, which every quotation says.
    """

    config: str
    rows: list[Row]
    sweep: tuple[str, ...]
    about: str
    reduced: bool

    def runs(self) -> list[StudyRun]:
        """All trainings: those of the first seed first, of all rows in turn, so that any beginning is balanced."""
        found = [
            (place, StudyRun(row, point)) for row in self.rows for place, point in enumerate(self.points(row))
        ]
        return [run for _, run in sorted(found, key=lambda one: (one[1].point.config.seed, one[0]))]

    def command(self, row: Row, point: GridPoint | None = None) -> list[str]:
        """What to type for a row, or for one of its runs, from the project's folder."""
        chosen = row.settings | (point.values if point else {})
        settings = [f"--config.{field}={_typed(value)}" for field, value in chosen.items()]
        sweep = [] if point else ["--mode=sweep", *(f"--sweep={axis}" for axis in self.sweep)]
        return ["python", "main.py", f"--config=configs/{self.config}", *settings, *sweep]

    def swept(self) -> list[str]:
        """The fields that are swept, but for the seed."""
        fields = [axis.partition("=")[0] for axis in self.sweep]
        return [field for field in fields if field != "seed"]

    def points(self, row: Row) -> list[GridPoint]:
        """What varies within the study, at all values that a row has."""
        file, _, argument = self.config.partition(":")
        module = importlib.import_module(f"configs.{file.removesuffix('.py')}")
        config: ConfigDict = module.get_config(argument) if argument else module.get_config()
        config.update_from_flattened_dict(row.settings)
        return grid(config, parse_axes(self.sweep, config))


_SAME = (
    "All methods have the same data, network, epochs, learning rate, batch, views (but for the three of the last row) "
    "and held-out images; the commands say what else they change. Accuracies are those of the last checkpoint on all "
    "test images, never chosen by them."
)


def _methods(config: str, methods: dict[str, dict[str, object]], *, reduced: bool) -> Study:
    rows = [Row(label, _folder(label), settings) for label, settings in methods.items()]
    return Study(config, rows, ("seed=0,1,2",), _SAME, reduced)


def _hundred_epochs(data: str) -> Study:
    return Study(
        f"protocol.py:{data}_resnet18",
        [Row(label, _folder(label), METHODS[label] | _HUNDRED_EPOCHS) for label in _WITH_LABELS],
        ("seed=0,1,2",),
        "All have the same data, network, epochs, learning rate, batch, views and held-out images. Half the length of "
        "the whole protocol, with twice its batch and rate. Accuracies are those of the last checkpoint on all test "
        "images, never chosen by them.",
        reduced=False,
    )


def _to_the_end(
    data: str,
    name: str,
    settings: dict[str, object],
    pilot: dict[str, object],
    about: str,
    *,
    longer_pilot: dict[str, object] | None = None,
) -> dict[str, Study]:
    """Rates of each method; pairs of k1 and k2 for TCL; and whole trainings with what these decide.

    Args:
      settings: of a whole training.
      pilot: what a training that chooses a rate or a pair changes in them.
      longer_pilot: what it changes where the two contrastive losses need more steps to differ between settings.
    """
    config, pairs = f"protocol.py:{data}_resnet18", f"{name}_pairs"
    short = settings | _PILOT | pilot
    of_rates = {f"{name}_rates": (_WITH_LABELS, short)}
    if longer_pilot:
        short = short | longer_pilot
        of_rates[f"{name}_longer_rates"] = (("TCL", "SupCon"), short)
    rate_of = {label: ((study, label),) for study, (labels, _) in of_rates.items() for label in labels}
    whole = [Row(label, _folder(label), METHODS[label] | settings, rate_of[label]) for label in _WITH_LABELS]
    whole.append(Row("TCL, best pair", "tcl_best_pair", settings, (*rate_of["TCL"], (pairs, "TCL"))))
    return {
        **{
            study: Study(
                config,
                [Row(label, _folder(label), METHODS[label] | changed) for label in labels],
                ("train.learning_rate=0.1,0.3,1.0", "seed=0"),
                f"Chooses the learning rates of {name}. " + _CHOICE,
                reduced=True,
            )
            for study, (labels, changed) in of_rates.items()
        },
        pairs: Study(
            config,
            [Row("TCL", "tcl", short, rate_of["TCL"])],
            ("loss.k1=100,1000", "loss.k2=1,5", "seed=0"),
            f"Chooses k1 and k2 of {name}, at the learning rate that {rate_of['TCL'][0][0]} has chosen for TCL. "
            + _CHOICE,
            reduced=True,
        ),
        name: Study(
            config,
            whole,
            ("seed=0,1",),
            f"{about} Each row has that learning rate of {' or '.join(of_rates)} at which its kNN of held-out images "
            f"is highest at the end; the last row also k1 and k2 of {pairs}, chosen in the same way. All else is the "
            "same in all rows. "
            "Accuracies are those of the last checkpoint on all test images, never chosen by them.",
            reduced=False,
        ),
    }


def _typed(value: object) -> str:
    """A setting as it is typed."""
    if not isinstance(value, tuple):
        return str(value)
    return f"({','.join(map(json.dumps, value))}{',' * (len(value) == 1)})"


def _folder(label: str) -> str:
    return label.lower().replace(",", "").replace(" = ", "_").replace(" ", "_")


_CHOICE = (
    "By 1,000 held-out images at the end of a short training: differences below two points may be chance."
)

STUDIES = {
    f"{data}_{size}": _methods(f"protocol.py:{data}_{size}", METHODS, reduced=size == "reduced")
    for data in ("fashion_mnist", "cifar10")
    for size in ("reduced", "resnet18", "resnet50")
} | {
    "digits": _methods("digits_tcl.py", _METHODS_ON_DIGITS, reduced=False),
    "k1_k2_fashion_mnist": Study(
        "protocol.py:fashion_mnist_reduced",
        [Row("TCL", "tcl", {})],
        ("loss.k1=10,100,1000,5000", "loss.k2=1,5", "seed=0"),
        "TCL at each k1 and k2, the paper's experiment on the stability of its two settings.",
        True,
    ),
    "longer_cifar10": Study(
        "protocol.py:cifar10_reduced",
        [Row(label, _folder(label), METHODS[label] | {"train.epochs": 24}) for label in _WITH_LABELS],
        ("seed=0,1,2",),
        "The methods with labels at three times the length of the reduced protocol, all else as there.",
        True,
    ),
    "hundred_epochs_fashion_mnist": _hundred_epochs("fashion_mnist"),
    "hundred_epochs_cifar10": _hundred_epochs("cifar10"),
    "rates_cifar10": Study(
        "protocol.py:cifar10_reduced",
        [Row(label, _folder(label), METHODS[label]) for label in _WITH_LABELS],
        ("train.learning_rate=0.02,0.05,0.1,0.2", "seed=0"),
        "Which learning rate suits each method with labels in the reduced protocol. Rates are to be chosen by the "
        "images that are held out.",
        True,
    ),
    "long_tailed_fashion_mnist": Study(
        "protocol.py:fashion_mnist_reduced",
        [
            Row(f"{label}, {means}", _folder(f"{label}, {means}"), METHODS[label] | _LONG_TAIL | settings)
            for label in _WITH_LABELS
            for means, settings in _AGAINST_IMBALANCE.items()
        ],
        ("seed=0,1,2",),
        "3,720 training images, of which the first class has 1,500 and the last 15, in between exponentially "
        "(data.imbalance=100); all 10,000 test images, 1,000 of each class, so that the accuracy is the mean over "
        "classes. The probe, too, is trained on the long-tailed images. All else is as in the reduced protocol, and "
        "the same in all rows: 440 steps. Accuracies are those of the last checkpoint, never chosen by test images.",
        True,
    ),
    "label_noise_fashion_mnist": Study(
        "protocol.py:fashion_mnist_reduced",
        [
            Row(
                f"{label}, {share} % wrong",
                _folder(f"{label}, {share}"),
                METHODS[label] | {"data.label_noise": share / 100},
            )
            for share in (20, 40)
            for label in _WITH_LABELS
        ],
        ("seed=0,1,2",),
        "Training labels are made wrong at random, the same ones in all rows and seeds (data.label_noise); the probe "
        "and the neighbours of kNN have them, too, and held-out and test images their true ones. All else is as in the "
        "reduced protocol. Accuracies are those of the last checkpoint, never chosen by test images.",
        True,
    ),
    "smallest": Study(
        "digits_tcl.py",
        [Row(label, _folder(label), METHODS[label] | _SMALLEST) for label in ("TCL", "cross-entropy")],
        ("seed=0",),
        "Tries the tools, and says nothing about the methods.",
        True,
    ),
    **_to_the_end(
        "fashion_mnist",
        "fashion_mnist_converged",
        _NARROW | {"augment.views": ("crop_flip", "crop_flip"), "train.epochs": 12},
        {"data.train_split": "train[:16000]", "train.epochs": 4},
        "A narrow network on all images.",
    ),
    **_to_the_end(
        "cifar10",
        "cifar10_subset_converged",
        _NARROW | {"data.train_split": "train[:10000]", "train.epochs": 50, "checkpoint.every_epochs": 5},
        {"train.epochs": 5},
        "A narrow network on the first 10,000 images.",
        longer_pilot={"train.epochs": 15},
    ),
}
