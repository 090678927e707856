"""The encoders that come with the package: found by name, and as good as their cards say."""

import os
import pathlib
import re

import jax
import numpy as np
import pytest

from tcl_jax import load_encoder
from tcl_jax.config import load
from tcl_jax.encoder import weights
from tcl_jax.encoder.initial import read_initial
from tcl_jax.errors import UserError
from tcl_jax.evaluate import knn_predict
from tcl_jax.experiment.data import load_data
from tcl_jax.files import packaged
from tcl_jax.models.tensor_file import read_tensors
from tcl_jax.parallel import make_mesh
from tests.marks import slow
from tests.modes import small_run

FOLDER = packaged("weights")
DATA_DIR = os.environ.get("TFDS_DATA_DIR")


def card(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text()


@pytest.mark.parametrize("name", weights.known())
def test_a_card_is_of_the_encoder_beside_it(name):
    path = FOLDER / f"{name}.safetensors"
    encoder, text = load_encoder(name), card(name)
    assert path.stat().st_size < 1e6
    assert f'load_encoder("{name}")' in text
    assert f"`{encoder.description.params_sha256}`" in text
    shape = ", ".join(map(str, encoder.image_shape))
    assert f"uint8 [n, {shape}], 0 to 255 -> float32 [n, {encoder.feature_dim}]" in text
    assert f"width {encoder.description.width}," in text
    parameters = sum(array.size for array in jax.tree.leaves(encoder.variables["params"]))
    assert f"{round(parameters, -3):,} parameters" in text
    assert not (FOLDER / "projection.safetensors").exists()  # would be taken for the head of each


@pytest.mark.parametrize(
    ("name", "experiment"),
    [
        *slow(("digits_tcl", "digits_tcl")),
        pytest.param(
            "fashion_mnist_tcl",
            "protocol:fashion_mnist_resnet18",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(
                    not DATA_DIR, reason="TFDS_DATA_DIR, where FashionMNIST is, is not set; .ci/run does"
                ),
            ],
        ),
    ],
)
def test_an_encoder_is_as_good_as_its_card_says(name, experiment):
    encoder, config = load_encoder(name), load(experiment)
    assert encoder.config_name == experiment.replace(":", "_")
    config.data.data_dir = DATA_DIR or ""
    data = load_data(config).evaluated
    predicted = knn_predict(
        encoder(data.test.images[:], batch_size=512),
        encoder(data.train.images[:], batch_size=512),
        data.train.labels,
        num_classes=len(data.class_names),
    )
    found = 100 * np.mean(predicted == data.test.labels)
    (said,) = re.findall(r"^\| kNN \| ([\d.]+) \|$", card(name), flags=re.MULTILINE)
    # Elsewhere rounding differs, and one of the 360 images of the digits may change sides.
    assert abs(found - float(said)) < 0.3


def test_a_training_begins_with_an_encoder_by_its_name():
    initial = read_initial("digits_tcl", make_mesh())
    tensors, _ = read_tensors(FOLDER / "digits_tcl.safetensors")
    assert initial.tensors.keys() == tensors.keys()
    for key, value in tensors.items():
        np.testing.assert_array_equal(initial.tensors[key], value)
    assert initial.path == str(FOLDER / "digits_tcl.safetensors")


@pytest.mark.slow
def test_a_run_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = pathlib.Path("digits_tcl")
    small_run.write_run(run)
    loaded, initial = load_encoder("digits_tcl"), read_initial("digits_tcl", make_mesh())
    ours = load_encoder(FOLDER / "digits_tcl.safetensors")
    assert loaded.description.params_sha256 != ours.description.params_sha256
    assert initial.path == str(run.absolute())


def test_a_name_that_is_not_there_gets_those_that_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"does not hold an encoder: .* or one of digits_tcl"):
        load_encoder("digit_tcl")
    with pytest.raises(UserError, match=r"model.init_from is digit_tcl, .* or one of digits_tcl"):
        read_initial("digit_tcl", make_mesh())
