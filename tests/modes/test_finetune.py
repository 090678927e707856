"""Trainings that begin with the encoder of a run: fine-tuned with few labels, killed, continued without that run."""

import shutil

import jax
import numpy as np
import pytest

from tcl_jax.encoder.load import load_encoder
from tcl_jax.errors import UserError
from tcl_jax.experiment import build
from tcl_jax.experiment.build import build_experiment
from tcl_jax.modes import evaluate, export, report, train
from tcl_jax.parallel import make_mesh
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.workdir import Workdir
from tests.modes.tiny import assert_same_end, copy_of, tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("finetune")]


@pytest.fixture(scope="module", autouse=True)
def on_one_device():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "make_mesh", lambda: make_mesh(1))
        yield


def trained(config, path):
    workdir = Workdir(str(path))
    train.run(config, workdir, "digits_finetune")
    return workdir


@pytest.fixture(scope="module")
def pretrained(data_dir, tmp_path_factory, on_one_device, without_pages):
    """Five epochs on all labels of 1,000 images."""
    config = copy_of(
        tiny_config(data_dir, epochs=5, ema_decay=0.9, learning_rate=0.3),
        data__train_split="train[:1000]",
        model__width=16,
        loss__name="cross_entropy",
        evaluation__metrics=("knn",),
        checkpoint__every_epochs=5,
    )
    return trained(config, tmp_path_factory.mktemp("pretrained") / "run")


@pytest.fixture(scope="module")
def config(data_dir, pretrained):
    """Four images of each digit, 10 epochs of 2 steps."""
    return copy_of(
        tiny_config(data_dir, batch_size=20, epochs=10, learning_rate=0.3),
        data__train_split="train",
        data__train_images_of_class=4,
        model__width=16,
        model__init_from=str(pretrained.path),
        loss__name="cross_entropy",
        validation__images=0,
        evaluation__metrics=("knn",),
        probe__batch_size=20,
        checkpoint__every_epochs=4,
    )


@pytest.fixture(scope="module")
def finetuned(config, without_pages, tmp_path_factory):
    return trained(config, tmp_path_factory.mktemp("finetuned") / "run")


def encoder_of(workdir):
    return load_encoder(workdir.path)._variables


def same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_step_0_is_the_encoder_of_the_run_to_the_bit_and_the_head_is_drawn(config, pretrained):
    program = build_experiment(config, begins=True).program
    state = program.initial_state(5)
    average = encoder_of(pretrained)
    same(state.params["encoder"], average["params"]["encoder"])
    same(state.batch_stats["encoder"], average["batch_stats"]["encoder"])
    drawn = program._replace(initial_encoder=None).initial_state(5)
    same(state.params["head"], drawn.params["head"])
    kernels = [variables["head"]["linear"]["kernel"] for variables in (state.params, average["params"])]
    assert not np.array_equal(*kernels)


@pytest.mark.parametrize("exported", [False, True])
def test_images_are_normalised_as_those_of_that_encoder_were(config, pretrained, exported):
    if exported:
        export.run(pretrained)
        config = copy_of(config, model__init_from=str(pretrained.encoder))
    experiment = build_experiment(config, begins=True)
    description = load_encoder(pretrained.path).description
    assert (experiment.facts.mean, experiment.facts.std) == (description.mean, description.std)
    assert experiment.facts[3:5] != tuple(experiment.dataset.channel_statistics)
    # Untrained on, it makes the features that the run makes.
    variables = experiment.program.initial_state(0).variables
    images = experiment.dataset.test.images[:8]
    found = experiment.program.encode(variables, images)
    np.testing.assert_allclose(found, load_encoder(pretrained.path)(images), rtol=1e-5, atol=1e-6)


def test_a_run_keeps_what_it_began_with(finetuned, pretrained):
    description = load_encoder(pretrained.path).description
    expected = {
        "path": str(pretrained.path),
        "params_sha256": pretrained.read_results()["params_sha256"],
        "mean": list(description.mean),
        "std": list(description.std),
    }
    assert finetuned.read_data()["model.init_from"] == expected
    assert finetuned.read_results()["init_from"] == expected
    assert load_encoder(finetuned.path).mean == description.mean


def test_few_labels_go_further_from_a_trained_encoder_than_from_a_drawn_one(
    finetuned, config, tmp_path, without_pages
):
    drawn = trained(copy_of(config, model__init_from=""), tmp_path / "run")
    accuracy, without = (workdir.read_results()["metrics"]["classifier"] for workdir in (finetuned, drawn))
    assert accuracy > without + 0.3
    assert drawn.read_results()["init_from"] is None


class Killed(Exception):
    pass


def killed_after_4_epochs(config, path, patch):
    save = Checkpoints.save

    def save_once(self, *arguments):
        save(self, *arguments)
        raise Killed

    patch.setattr(Checkpoints, "save", save_once)
    with pytest.raises(Killed):
        trained(config, path)
    patch.undo()


@pytest.mark.slow
@pytest.mark.parametrize("exported", [False, True])
def test_a_killed_run_ends_the_same_though_what_it_began_with_is_gone(
    finetuned, config, pretrained, exported, tmp_path, monkeypatch, without_pages
):
    origin = shutil.copytree(pretrained.path, tmp_path / "origin")
    if exported:
        export.run(Workdir(str(origin)))
    init_from = origin / "encoder.safetensors" if exported else origin
    config = copy_of(config, model__init_from=str(init_from))
    killed_after_4_epochs(config, tmp_path / "run", monkeypatch)
    shutil.rmtree(origin)
    assert_same_end(trained(config, tmp_path / "run"), finetuned)
    results = Workdir(str(tmp_path / "run")).read_results()
    assert results["init_from"] == finetuned.read_results()["init_from"] | {"path": str(init_from)}


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_run_does_not_go_on_without_its_normalisation(finetuned, config, tmp_path, harm):
    workdir = Workdir(shutil.copytree(finetuned.path, tmp_path / "run"))
    workdir.data.unlink() if harm == "gone" else workdir.data.write_text("{")
    for mode in (train, evaluate, report):
        longer = copy_of(config, train__epochs=12) if mode is train else config
        with pytest.raises(
            UserError, match=rf"data.json is {harm}, which says .*: restore it, or train anew"
        ):
            mode.run(longer, workdir, "digits_finetune")


def test_a_run_of_a_version_that_normalised_by_its_data_goes_on_so(finetuned, config):
    began = finetuned.read_data()
    del began["model.init_from"]
    facts = build_experiment(config, began_with=[began]).facts
    assert [list(facts.mean), list(facts.std)] == [began["data"]["mean"], began["data"]["std"]]


def test_a_sweep_does_not_begin_with_two_encoders(finetuned, config, pretrained):
    other = finetuned.read_data()
    other["model.init_from"]["params_sha256"] = "0" * 64
    build_experiment(config, begins=True, began_with=[finetuned.read_data(), {}])
    with pytest.raises(
        UserError, match=r"model.init_from is .*, whose encoder is not the one that other runs"
    ):
        build_experiment(config, begins=True, began_with=[other])
    # None of its runs begins: the run is not read.
    gone = copy_of(config, model__init_from=str(pretrained.path / "gone"))
    assert build_experiment(gone, began_with=[other]).facts.mean == load_encoder(finetuned.path).mean
