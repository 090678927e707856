"""model.init_from: what cannot be begun with is refused in one sentence, before anything is written."""

import shutil

import pytest

from configs import digits_tcl
from tcl_jax.errors import RunFailed, UserError
from tcl_jax.experiment.parts import make_parts
from tcl_jax.modes import export, train
from tcl_jax.parallel import make_mesh
from tcl_jax.run.workdir import Workdir
from tests.marks import slow
from tests.modes.small_run import small_config, write_run


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.getbasetemp() / "data")


OTHER_ENCODERS = [
    ({"model.name": "resnet34"}, "another encoder .model.name is 'resnet18' there and 'resnet34' here.: set"),
    (
        {"model.name": "resnet50", "model.width": 4},
        "model.name is 'resnet18' there and 'resnet50' here, model.width is 2 there and 4 here",
    ),
    ({}, "for 1-channel images .it takes images of 3 channels; conv1.weight is"),
    *slow(
        (
            {"model.stem": "imagenet"},
            "another encoder .model.stem is 'cifar' there and 'imagenet' here.: set",
        ),
        ({"model.width": 4}, "another encoder .model.width is 2 there and 4 here.: set"),
        (
            {"model.name": "tests.modes.tiny_encoder:Tiny"},
            "model.name is 'resnet18' there and 'tests.modes.tiny_encoder:Tiny' here",
        ),
    ),
]


@pytest.mark.parametrize("exported", [False, *slow(True)])
@pytest.mark.parametrize(("fields", "message"), OTHER_ENCODERS)
def test_a_trained_encoder_that_is_not_that_of_the_config(
    fields, message, exported, written_run, data_dir, tmp_path
):
    config = digits_tcl.get_config()
    config.data.data_dir = data_dir
    config.model.update(width=2, init_from=str(written_run.encoder if exported else written_run.path))
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=f"^model.init_from is {written_run.path}.*{message}") as caught:
        train.run(config, Workdir(str(tmp_path / "run")), "digits_tcl")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def written_run(tmp_path_factory):
    workdir = write_run(tmp_path_factory.mktemp("written"))
    export.run(workdir)
    return workdir


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("checkpoints", "^Of model.init_from: The run in .* has no checkpoint yet: train it first"),
        ("encoder.json", "^Of model.init_from: .*encoder.json is missing or damaged"),
        ("config.json", "^model.init_from is .*, which does not hold a run .no config.json in "),
    ],
)
def test_a_run_to_begin_with_that_lacks_a_part(removed, message, written_run, tmp_path):
    folder = shutil.copytree(written_run.path, tmp_path / "origin")
    shutil.rmtree(folder / removed) if removed == "checkpoints" else (folder / removed).unlink()
    config = small_config()
    config.model.init_from = str(folder)
    with pytest.raises(UserError, match=message) as caught:
        make_parts(config, make_mesh(1), begins=True)
    assert "\n" not in str(caught.value)
    assert make_parts(config, make_mesh(1)).initial_encoder is None  # a run that goes on does not need it


def test_a_run_to_begin_with_whose_checkpoints_are_damaged(written_run, tmp_path):
    folder = shutil.copytree(written_run.path, tmp_path / "origin")
    for part in folder.glob("checkpoints/*/model"):
        shutil.rmtree(part)
    config = small_config()
    config.model.init_from = str(folder)
    with pytest.raises(RunFailed, match=r"^Of model.init_from: None of the 2 checkpoints in .* can be read"):
        make_parts(config, make_mesh(1), begins=True)
