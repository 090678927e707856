"""A run and the data it began with: others are refused by name, evaluated on when asked for, or there are none."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tcl_jax.data import Dataset, Split
from tcl_jax.encoder.load import load_encoder
from tcl_jax.errors import RunFailed, UserError, WriteFailed
from tcl_jax.evaluate import knn_predict
from tcl_jax.evaluate.metrics import GROUPS
from tcl_jax.experiment import build
from tcl_jax.modes import evaluate, sweep, train
from tcl_jax.parallel import make_mesh
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.stored import Position, read_latest
from tcl_jax.run.workdir import Workdir
from tests.modes.small_run import drawn_state, small_config, state_shapes
from tests.modes.tiny import copy_of, tiny_config

pytestmark = pytest.mark.xdist_group("other_data")


def write_images(root, *, classes=("ant", "bee"), train_images=12, seed=0, brightness=0):
    """Images of 8x8 pixels; those of a class are alike."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train_images), ("test", 5)):
        for number, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = rng.integers(0, 60, (8, 8)) + 120 * number + brightness
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module", autouse=True)
def on_one_device():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "make_mesh", lambda: make_mesh(1))
        patch.setattr(evaluate, "make_mesh", lambda: make_mesh(1))
        patch.setattr("tcl_jax.experiment.results.write_page", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def config_of(folder, **fields):
    config = tiny_config(folder, batch_size=8, epochs=1)
    common = {"data__name": "image_folder", "data__train_split": "train", "data__test_split": "test"}
    small = {"validation__images": 8, "probe__batch_size": 8, "evaluation__metrics": ("knn",)}
    return copy_of(config, **(common | small | fields))


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    workdir = Workdir(str(tmp_path_factory.mktemp("run")))
    train.run(config_of(images), workdir, "name")
    return workdir


def copied(workdir, path):
    return Workdir(str(shutil.copytree(workdir.path, path)))


def contents(workdir):
    known = ("config.json", "data.json", "encoder.json", "results.json")
    return {name: (workdir.path / name).read_bytes() for name in known}


def add_image(root):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "train/ant/more.png")


def rename_class(root):
    for split in ("train", "test"):
        (root / split / "ant").rename(root / split / "wasp")


def move_image(root):
    (root / "train/ant/0.png").rename(root / "train/bee/new.png")


def brighten(root):
    write_images(root, brightness=5)


CHANGES = {
    "more images": (add_image, "number of training images .24 there, 25 now"),
    "a class renamed": (rename_class, "class names .class 0 is 'ant' there, 'bee' now"),
    "an image of another class": (move_image, "files or labels of the training images"),
    "other pixels": (brighten, "mean of the training pixels"),
}


@pytest.mark.parametrize("mode", ["train", "evaluate"])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_are_refused_by_what_differs(finished, images, tmp_path, mode, change):
    alter, expected = CHANGES[change]
    folder = shutil.copytree(images, tmp_path / "changed")
    alter(folder)
    workdir = copied(finished, tmp_path / "run")
    before = contents(workdir)
    if mode == "train":
        workdir.results.unlink()  # as if it had been interrupted
        del before["results.json"]
    run = {"train": train.run, "evaluate": evaluate.run}[mode]
    with pytest.raises(UserError, match=expected) as caught:
        run(config_of(folder), workdir, "name")
    assert "The data of data are not those with which the run began" in str(caught.value)
    assert {name: (workdir.path / name).read_bytes() for name in before} == before


def test_the_same_data_elsewhere_are_the_same(finished, images, tmp_path):
    folder = shutil.copytree(images, tmp_path / "moved")
    workdir = copied(finished, tmp_path / "run")
    before = workdir.read_results()
    workdir.results.unlink()
    train.run(config_of(folder), workdir, "name")
    assert workdir.read_results()["metrics"] == before["metrics"]
    assert workdir.data.read_bytes() == finished.data.read_bytes()


def test_a_run_of_an_older_version_records_its_data_at_its_next_start(finished, images, tmp_path):
    workdir = copied(finished, tmp_path / "run")
    workdir.data.unlink()
    evaluate.run(config_of(images), workdir, "name")
    assert workdir.data.read_bytes() == finished.data.read_bytes()


@pytest.mark.parametrize("content", ["", "[1]", '{"data": 3}'])
def test_damaged_facts_are_named(finished, images, tmp_path, content):
    workdir = copied(finished, tmp_path / "run")
    workdir.data.write_text(content)
    with pytest.raises(UserError, match=r"data.json is damaged.*delete it"):
        evaluate.run(config_of(images), workdir, "name")


def test_evaluation_on_other_data_keeps_the_normalisation_and_touches_nothing(finished, tmp_path, images):
    other = write_images(tmp_path / "other", seed=1, brightness=40)
    workdir = copied(finished, tmp_path / "run")
    before = contents(workdir)
    config = config_of(images, data__evaluate_on__name="image_folder", data__evaluate_on__data_dir=str(other))
    evaluate.run(config, workdir, "name")
    assert contents(workdir) == before
    results = json.loads((workdir.path / "results_on_image_folder.json").read_text())
    assert (results["evaluated_on"], results["step"]) == ("image_folder", 2)
    encoder = load_encoder(str(workdir.path))
    features, labels = {}, {}
    for split in ("train", "test"):
        files = sorted((other / split).rglob("*.png"))
        features[split] = encoder(np.stack([np.asarray(Image.open(file))[..., None] for file in files]))
        labels[split] = np.array([int(file.parent.name == "bee") for file in files])
    predicted = knn_predict(features["test"], features["train"], labels["train"], num_classes=2)
    assert results["metrics"]["knn"] == np.mean(predicted == labels["test"])


def test_all_metrics_are_taken_on_data_of_other_classes_and_size(finished, tmp_path, images):
    """Ten classes of 12 images, unequally many of them tested; the outliers are larger, coloured and of no class."""
    names = [f"kind {number}" for number in range(10)]
    other = write_images(tmp_path / "other", classes=names, brightness=-120)
    for number in range(3):
        (other / "test" / "kind 4" / f"{number}.png").unlink()
    outliers = tmp_path / "outliers" / "train"
    outliers.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 256, (12, 12 + number, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(outliers / f"{number}.png")
    workdir = copied(finished, tmp_path / "run")
    before = contents(workdir)
    config = config_of(images, data__evaluate_on__name="image_folder", data__evaluate_on__data_dir=str(other))
    config.evaluation.metrics = ("linear_probe", "logistic_regression", "knn", "retrieval", "few_labels")
    config.evaluation.outliers.update(name="image_folder", data_dir=str(outliers.parent), test_split="train")
    evaluate.run(config, workdir, "name")
    assert contents(workdir) == before
    results = json.loads((workdir.path / "results_on_image_folder.json").read_text())
    few, predicting = set(GROUPS["few_labels"]), {"linear_probe", "logistic_regression", "knn"}
    assert results["metrics"].keys() == {*predicting, *few, *GROUPS["retrieval"], "outlier_auroc"}
    assert all(0 <= value <= 1 for value in results["metrics"].values())
    assert results["deviations"].keys() == few
    assert results["top_5"].keys() == predicting
    assert results["per_class"].keys() == results["macro_average"].keys() == predicting | few
    for name, by_class in results["per_class"].items():
        assert list(by_class) == names
        assert results["macro_average"][name] == pytest.approx(np.mean(list(by_class.values())))
        sizes = [2 if kind == "kind 4" else 5 for kind in names]
        assert results["metrics"][name] == pytest.approx(np.average(list(by_class.values()), weights=sizes))


def test_outliers_may_be_named_after_training_and_leave_the_run_as_it_is(finished, tmp_path, images):
    workdir = copied(finished, tmp_path / "run")
    before = workdir.read_results()
    config = config_of(images)
    config.evaluation.outliers.update(name="image_folder", test_split="train")  # those of training
    evaluate.run(config, workdir, "name")
    results = workdir.read_results()
    assert list(results["metrics"]) == ["knn", "outlier_auroc"]
    assert results["metrics"]["knn"] == before["metrics"]["knn"]
    assert results["metrics"]["outlier_auroc"] <= 0.5  # none are nearer to the training images
    assert results["params_sha256"] == before["params_sha256"]


@pytest.mark.parametrize(("width", "mode"), [(8, "RGB"), (12, "L"), (11, "RGBA")])
def test_other_data_are_made_as_large_and_as_deep_as_the_training_images(
    finished, tmp_path, images, capsys, width, mode
):
    original = write_images(tmp_path / "original", seed=1)
    for file in original.rglob("*.png"):
        wide = tmp_path / "other" / file.relative_to(original)
        wide.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("L", (width, 8))
        picture.paste(Image.open(file), (round((width - 8) / 2), 0))  # what is beside it is cut off again
        picture.convert(mode).save(wide)
    workdir = copied(finished, tmp_path / "run")
    metrics = []
    for folder in (original, tmp_path / "other"):
        on = {"data__evaluate_on__name": "image_folder", "data__evaluate_on__data_dir": str(folder)}
        evaluate.run(config_of(images, **on), workdir, "name")
        metrics.append(json.loads((workdir.path / "results_on_image_folder.json").read_text())["metrics"])
    assert metrics[0] == metrics[1]
    line = "Images of 'image_folder' are converted from 3 to 1 channels, as in training."
    assert (line in capsys.readouterr().out) == (mode != "L")


def two_channels():
    images, labels = np.zeros((4, 8, 8, 2), np.uint8), np.array([0, 0, 1, 1], np.int32)
    return Dataset("two", Split(images, labels), Split(images, labels), ("a", "b"))


def test_other_data_of_channels_that_cannot_be_converted_are_refused(finished, tmp_path, images):
    config = config_of(images, data__evaluate_on__name=f"{__name__}:two_channels")
    with pytest.raises(
        UserError, match=r"data.evaluate_on.name is .*, whose images are 8x8x2, expected 8x8x1 as in training"
    ):
        evaluate.run(config, copied(finished, tmp_path / "run"), "name")


@pytest.fixture
def flat(tmp_path):
    """The training images in one folder, without classes."""
    made = write_images(tmp_path / "classes")
    (tmp_path / "flat/train").mkdir(parents=True)
    for number, file in enumerate(sorted((made / "train").rglob("*.png"))):
        shutil.copy(file, tmp_path / "flat/train" / f"{number}.png")
    return tmp_path / "flat"


WITHOUT = {"loss__labels": "image", "data__test_split": "", "validation__images": 0}


@pytest.mark.slow
def test_images_without_classes_train_without_evaluation(flat, images, tmp_path, capsys):
    workdir = Workdir(str(tmp_path / "run"))
    train.run(config_of(flat, **WITHOUT), workdir, "name")
    results = workdir.read_results()
    assert (results["metrics"], results["evaluated_on"], results["epochs"]) == ({}, None, 1)
    assert "nothing, as data.test_split is ''" in capsys.readouterr().out
    assert not workdir.predictions.exists()
    with pytest.raises(UserError, match=r"has no test images.*data.evaluate_on.name"):
        evaluate.run(config_of(flat, **WITHOUT), workdir, "name")
    on = {"data__evaluate_on__name": "image_folder", "data__evaluate_on__data_dir": str(images)}
    evaluate.run(config_of(flat, **WITHOUT, **on), workdir, "name")
    assert json.loads((workdir.path / "results_on_image_folder.json").read_text())["metrics"]["knn"] >= 0
    assert workdir.read_results() == results


@pytest.mark.slow
def test_images_without_classes_are_evaluated_on_labelled_ones(flat, images, tmp_path):
    workdir = Workdir(str(tmp_path / "run"))
    on = {"data__evaluate_on__name": "image_folder", "data__evaluate_on__data_dir": str(images)}
    train.run(config_of(flat, **WITHOUT, **on), workdir, "name")
    results = workdir.read_results()
    assert results["evaluated_on"] == "image_folder"
    assert 0 <= results["metrics"]["knn"] <= 1
    assert set(workdir.read_data()) == {"data", "data.evaluate_on"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"loss__labels": "class"}, "loss.name is 'tcl', which learns from classes, but 24 of the 24"),
        ({"validation__images": 8}, "validation.images is 8, but 24 of the 24"),
        ({"loss__classifier_weight": 0.0}, "loss.classifier_weight is 0.0, but 24 of the 24"),
        ({"data__test_split": "test"}, "data.test_split is 'test'"),
        (
            {"data__evaluate_on__name": "digits", "data__evaluate_on__test_split": ""},
            "expected a split to eval",
        ),
    ],
)
def test_what_needs_classes_is_refused_without_them(flat, tmp_path, changed, expected):
    with pytest.raises(UserError, match=expected):
        train.run(config_of(flat, **(WITHOUT | changed)), Workdir(str(tmp_path / "run")), "name")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["proj [2026]/run", "lr[0.1]", "a*b", "what?", "[a-z]/x"])
def test_a_workdir_that_is_a_pattern_is_refused_before_training(images, tmp_path, name):
    for run in (
        lambda workdir: train.run(config_of(images), workdir, "name"),
        lambda workdir: sweep.run(config_of(images), workdir, "name", ["loss.k1=1,2"]),
    ):
        with pytest.raises(UserError, match=r"has \*, \? or \[ in its path.*another --workdir"):
            run(Workdir(str(tmp_path / name)))
    assert list(tmp_path.iterdir()) == []


def few_arrays():
    """A config whose checkpoints are small."""
    return copy_of(small_config(), model__name="tests.modes.tiny_encoder:Tiny")


@pytest.mark.parametrize(
    "name", ["with space", "a]b", "{x}", "50%", "#1", "é", "-x", "a'b", '"', "$HOME", "~"]
)
def test_checkpoints_in_other_paths_are_read_again(tmp_path, name):
    config, directory = few_arrays(), Workdir(str(tmp_path / name)).checkpoints
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(drawn_state(config, step=1), Position(), 0.5)
    template = {"model": state_shapes(config).items()["model"]}
    assert read_latest(directory, template, make_mesh(1)).step == 1


def test_a_checkpoint_without_an_index_is_not_called_saved_and_can_be_mended(tmp_path):
    config, directory = few_arrays(), Workdir(str(tmp_path / "a [b]")).checkpoints
    no_index = pytest.raises(WriteFailed, match=r"checkpoint of step 1 cannot be written .*has no index")
    with no_index, Checkpoints(directory) as checkpoints:
        checkpoints.save(drawn_state(config, step=1), Position(), 0.5)
    template = {"model": state_shapes(config).items()["model"]}
    with pytest.raises(RunFailed, match=r"docs/faults.md has the command"):
        read_latest(directory, template, make_mesh(1))
    for part in ("model", "training"):  # the command of docs/faults.md
        folder = directory / "1" / part
        shutil.copytree(folder / "ocdbt.process_0", folder, dirs_exist_ok=True)
    assert read_latest(directory, template, make_mesh(1)).step == 1
