"""Encoders exported from a run, and trainings that begin with them."""

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from configs import digits_tcl
from tcl_jax.encoder.exported import PROJECTION
from tcl_jax.errors import UserError
from tcl_jax.experiment import build
from tcl_jax.models import params_sha256
from tcl_jax.models.layout import encoder_tensors
from tcl_jax.models.torchvision import TORCHVISION
from tcl_jax.modes import export, train
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.stored import Position
from tcl_jax.run.workdir import Workdir
from tests.modes.small_run import FACTS, description_64, drawn_state, program_of, small_config, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = write_run(tmp_path_factory.mktemp("run"))
    export.run(workdir)
    return workdir


def test_the_files_describe_the_encoder_completely(run):
    with safe_open(run.encoder, "np") as file:
        metadata = file.metadata()
    assert metadata == {
        "format_version": "2",
        "model": "resnet18",
        "stem": "cifar",
        "width": "2",
        "precision": "auto",
        "projection_dim": "6",
        "head": "projection",
        "image_shape": "[12, 8, 3]",
        "mean": "[0.4, 0.5, 0.6]",
        "std": "[0.2, 0.3, 0.4]",
        "class_names": '["ant", "bee", "cat", "dog"]',
        "config_name": "small",
        "dataset": "digits",
        "loss": "tcl",
        "checkpoint": "latest",
        "step": "2",
        "weights": "average",
        "params_sha256": params_sha256(drawn_state(small_config(), step=2).variables),
    }
    average = jax.device_get(drawn_state(small_config(), step=2).average)
    tensors = load_file(run.encoder)
    kernel = average["params"]["encoder"]["layer3_0"]["shortcut_conv"]["kernel"]
    np.testing.assert_array_equal(tensors["layer3.0.downsample.0.weight"], kernel.transpose(3, 2, 0, 1))
    mean = average["batch_stats"]["encoder"]["bn1"]["mean"]
    np.testing.assert_array_equal(tensors["bn1.running_mean"], mean)
    assert tensors["bn1.num_batches_tracked"] == 2
    head = load_file(run.path / PROJECTION)
    np.testing.assert_array_equal(head["2.bias"], average["params"]["head"]["linear2"]["bias"])


def test_an_export_replaces_the_one_before_and_says_where_it_is(run, capsys):
    before = run.encoder.read_bytes()
    export.run(run, checkpoint="best")
    assert load_file(run.encoder)["bn1.num_batches_tracked"] == 1
    assert f"The encoder of step 1, a resnet18, is in {run.encoder}" in capsys.readouterr().out
    export.run(run)
    assert run.encoder.read_bytes() == before
    assert not list(run.path.glob("*.partial"))


def test_a_folder_without_a_run_is_named_and_stays_as_it_is(tmp_path):
    with pytest.raises(UserError, match=r"^The workdir .* does not hold a run"):
        export.run(Workdir(str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_how_to_load_it_fits_the_network():
    assert export.how_to_load(description_64(), "e.safetensors").splitlines() == [
        "In PyTorch:",
        "    model = torchvision.models.resnet50()",
        "    model.fc = torch.nn.Identity()",
        '    model.load_state_dict(safetensors.torch.load_file("e.safetensors"))',
    ]
    cifar = export.how_to_load(description_64(stem="cifar"), "e")
    assert "model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)" in cifar
    assert "model.maxpool = torch.nn.Identity()" in cifar
    grey = export.how_to_load(description_64(image_shape=(28, 28, 1)), "e")
    assert "model.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)" in grey
    assert "Its width is 8, and torchvision's networks have 64" in export.how_to_load(
        description_64(width=8), "e"
    )
    for model in ("vit_tiny", "vit_small_gap", "convnext_atto"):
        found = export.how_to_load(description_64(model=model), "e")
        assert f"those of timm's {model}: docs/encoders.md" in found
        assert "torchvision" not in found
        assert "timm's networks have 64" in export.how_to_load(description_64(model=model, width=8), "e")


@pytest.mark.slow
@pytest.mark.parametrize("exported", [False, True])
def test_training_begins_with_the_encoder_of_the_file_or_the_run(run, exported):
    config = small_config()
    config.train.update(batch_size=8, micro_batch_size=8)
    config.model.init_from = str(run.encoder if exported else run.path)
    program = program_of(config, devices=8, begins=True)
    state, drawn = program.initial_state(0), program._replace(initial_encoder=None).initial_state(0)

    given = drawn_state(small_config(), step=2).average
    for kind, tree in state.variables.items():
        jax.tree.map(np.testing.assert_array_equal, tree["encoder"], given[kind]["encoder"])
    jax.tree.map(np.testing.assert_array_equal, state.average, state.variables)

    def rest(state):  # which is drawn, as without a file
        return state._replace(params={"head": state.params["head"]}, batch_stats={}, average=None)

    jax.tree.map(np.testing.assert_array_equal, rest(state), rest(drawn))
    # The step donates every array: no two may share their memory.
    places = [
        shard.data.unsafe_buffer_pointer() for x in jax.tree.leaves(state) for shard in x.addressable_shards
    ]
    assert len(places) == len(set(places))
    assert {len(x.addressable_shards) for x in jax.tree.leaves(state)} == {8}


class Reached(Exception):
    """Training would begin here."""


@pytest.fixture
def begun(tmp_path_factory, monkeypatch):
    """The state with which `train.run` would begin."""

    def stop(step, states, *_, **__):
        raise Reached(*states)

    monkeypatch.setattr(train, "train", stop)

    def begin(config, workdir):
        with pytest.raises(Reached) as reached:
            train.run(config, workdir, "digits_tcl")
        return reached.value.args[0]

    return begin


@pytest.fixture
def config(tmp_path_factory):
    config = digits_tcl.get_config()
    config.data.data_dir = str(tmp_path_factory.getbasetemp() / "data")
    config.model.update(width=2)
    return config


@pytest.mark.slow
def test_a_run_stores_what_its_encoder_needs_and_goes_on_without_the_file(config, begun, tmp_path):
    file, workdir = tmp_path / "weights.safetensors", Workdir(str(tmp_path / "run"))
    tensors = grey_weights()
    save_file(tensors, file)
    config.model.init_from = str(file)
    state = begun(config, workdir)
    assert state.average is None
    kernel = np.asarray(state.params["encoder"]["conv1"]["kernel"])
    np.testing.assert_array_equal(kernel, tensors["conv1.weight"].transpose(2, 3, 1, 0))
    description = workdir.read_description()
    assert (description["model"], description["image_shape"]) == ("resnet18", [8, 8, 1])
    assert description["class_names"] == [str(digit) for digit in range(10)]
    assert 0.2 < description["mean"][0] < description["std"][0] < 0.5

    file.unlink()
    moved = state._replace(params=jax.tree.map(lambda x: x + 1, state.params), step=state.step + 3)
    with Checkpoints(workdir.checkpoints) as checkpoints:
        checkpoints.save(moved, Position())
    continued = begun(config, workdir)
    jax.tree.map(np.testing.assert_array_equal, continued, moved)


def grey_weights():
    """Weights for digits_tcl with width 2."""
    shapes = program_of(small_config(), facts=FACTS._replace(image_shape=(8, 8, 1))).state_shapes()
    encoder = {"params": shapes.params["encoder"], "batch_stats": shapes.batch_stats["encoder"]}
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(lambda x: rng.uniform(size=x.shape).astype(np.float32), encoder)
    return encoder_tensors(drawn, TORCHVISION, num_batches=1)


def without_name(tensors):
    del tensors["layer1.0.bn1.running_var"]


def with_nan(tensors):
    tensors["conv1.weight"][0, 0, 0, 0] = np.nan


MISTAKES = [
    (
        {"name": "resnet50"},
        None,
        r"fit a resnet50 .*layer1.0.conv1.weight is \[2, 2, 3, 3\], expected \[2, 2, 1, 1\];",
    ),
    (
        {"stem": "imagenet"},
        None,
        r"stem 'imagenet'.* \(conv1.weight is \[2, 1, 3, 3\], expected \[2, 1, 7, 7\]\)",
    ),
    (
        {"width": 4},
        None,
        r"width 4 .* \(conv1.weight is \[2, 1, 3, 3\], expected \[4, 1, 3, 3\]; .*; and \d+ more\)",
    ),
    ({"name": "resnet34"}, None, r"layer1.2.conv1.weight is missing; "),
    ({}, without_name, r"\(layer1.0.bn1.running_var is missing\): give another file"),
    ({}, with_nan, "numbers that are not finite"),
]


@pytest.mark.parametrize(("fields", "change", "message"), MISTAKES)
def test_a_file_that_does_not_fit_is_refused_before_data_are_loaded(
    config, tmp_path, monkeypatch, fields, change, message
):
    tensors = grey_weights()
    if change is not None:
        change(tensors)
    save_file(tensors, tmp_path / "weights.safetensors")
    config.model.update(init_from=str(tmp_path / "weights.safetensors"), **fields)
    monkeypatch.setattr(build, "load_data", None)
    with pytest.raises(UserError, match=message):
        train.run(config, Workdir(str(tmp_path / "run")), "digits_tcl")
    assert not (tmp_path / "run").exists()


def test_channels_that_the_images_do_not_have_are_refused_before_anything_is_written(config, tmp_path):
    save_file(
        {**grey_weights(), "conv1.weight": np.zeros((2, 3, 3, 3), np.float32)}, tmp_path / "a.safetensors"
    )
    config.model.init_from = str(tmp_path / "a.safetensors")
    with pytest.raises(
        UserError, match=r"1-channel images \(conv1.weight is \[2, 3, 3, 3\], expected \[2, 1, 3, 3\]\)"
    ):
        train.run(config, Workdir(str(tmp_path / "run")), "digits_tcl")
    assert not (tmp_path / "run").exists()
