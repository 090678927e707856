"""An encoder exported as a program: JAX alone runs it, in a process that has neither this package nor Flax."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath
from flax import linen as nn
from jax import export as jax_export

from tcl_jax import load_encoder
from tcl_jax.encoder.stablehlo import write_stablehlo
from tcl_jax.encoder.trained_encoder import TrainedEncoder
from tcl_jax.errors import UserError
from tcl_jax.models import ContrastiveModel, ProjectionHead
from tcl_jax.modes import export
from tests.docs.test_snippets import fenced_blocks
from tests.marks import slow
from tests.modes import small_run
from tests.modes.small_run import FACTS, description_64, images, write_run


@pytest.fixture(
    scope="module",
    params=[
        "tests.modes.tiny_encoder:Tiny",
        *slow("resnet18", "vit_tiny", "vit_tiny_gap", "convnext_atto"),
    ],
)
def run(request, tmp_path_factory):
    config = small_run.small_config()
    config.model.name = request.param
    workdir = write_run(tmp_path_factory.mktemp("run"), config)
    export.run(workdir, format="stablehlo")
    return workdir


def test_jax_alone_runs_the_lines_of_the_page_and_finds_the_same_features(run, tmp_path):
    (block,) = [b for b in fenced_blocks("docs/encoders.md") if b.heading == "A program for JAX alone (1)"]
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('tcl_jax', 'flax', 'safetensors', 'orbax', 'etils')))\n"
        "import numpy as np\n"
        "images = np.load('images.npy')\n"
        f"{block.source}\n"
        "np.savez('found.npz', all=features, one=encode(images[:1]))\n"
    )
    pixels = images(5)
    np.save(tmp_path / "images.npy", pixels)
    (tmp_path / "encoder.stablehlo").write_bytes((run.path / "encoder.stablehlo").read_bytes())
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    found, expected = np.load(tmp_path / "found.npz"), load_encoder(run.path)(pixels)
    assert found["all"].dtype == np.float32
    np.testing.assert_allclose(found["all"], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["one"], expected[:1], rtol=1e-6, atol=1e-6)


def test_its_description_is_that_of_the_program(run):
    described = json.loads((run.path / "encoder.stablehlo.json").read_text())
    encoder = load_encoder(run.path)
    assert described["images"] == {"shape": ["n", 12, 8, 3], "dtype": "uint8"}
    assert described["features"] == {"shape": ["n", encoder.feature_dim], "dtype": "float32"}
    assert described["platforms"] == ["cpu", "cuda", "tpu"]
    assert described["versions"]["jax"] == jax.__version__
    assert described["encoder"] == json.loads(json.dumps(encoder.description._asdict()))
    program = jax_export.deserialize(bytearray((run.path / "encoder.stablehlo").read_bytes()))
    assert list(program.platforms) == described["platforms"]
    assert program.calling_convention_version == described["calling_convention_version"]
    assert not (run.path / "encoder.safetensors").exists()  # another format, which nobody asked for


def test_the_checkpoint_counts(run, tmp_path):
    program = run.path / "encoder.stablehlo"
    latest = program.read_bytes()
    export.run(run, checkpoint="best", format="stablehlo")
    found = jax_export.deserialize(bytearray(program.read_bytes())).call(images(3))
    program.write_bytes(latest)
    expected = load_encoder(run.path, checkpoint="best")(images(3))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


class Unfit(nn.Module):
    """An encoder that is not a program for any number of images."""

    why: str

    @nn.compact
    def __call__(self, images):
        if self.why == "statistics of the batch":
            images = nn.BatchNorm(use_running_average=False)(images)
        elif self.why == "random numbers":
            images = nn.Dropout(0.5, deterministic=False)(images)
        elif self.why == "len":
            images = images.reshape(len(images), *images.shape[1:])
        elif self.why == "number of images" and images.shape[0] > 4:
            images = images * 2
        return images.mean(axis=(1, 2))


def trained_of(encoder):
    model = ContrastiveModel(encoder=encoder, head=ProjectionHead(6))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = model.init(keys, np.zeros((2, *FACTS.image_shape), np.float32), train=False)
    return TrainedEncoder(model, variables, description_64(model="own:make", image_shape=FACTS.image_shape))


@pytest.mark.parametrize("why", ["statistics of the batch", "random numbers", "number of images", "len"])
def test_an_encoder_that_does_not_fit_ends_with_one_sentence_and_writes_nothing(why, tmp_path):
    with pytest.raises(
        UserError, match=r"^own:make is not a program for any number of images \(.*\): with"
    ) as e:
        write_stablehlo(trained_of(Unfit(why)), epath.Path(tmp_path / "encoder.stablehlo"))
    assert "\n" not in str(e.value)
    assert not list(tmp_path.iterdir())
    assert write_stablehlo(trained_of(Unfit("")), epath.Path(tmp_path / "encoder.stablehlo")).exists()


def test_without_flatbuffers_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    def lacking(exported):
        raise ImportError("Please install 'flatbuffers'")

    monkeypatch.setattr(jax_export.Exported, "serialize", lacking)
    with pytest.raises(UserError, match="pip install flatbuffers"):
        write_stablehlo(trained_of(Unfit("")), epath.Path(tmp_path / "encoder.stablehlo"))
    assert not list(tmp_path.iterdir())


def test_a_program_given_for_weights_is_refused(run):
    with pytest.raises(
        UserError, match=r"encoder.stablehlo is a program, .*or give the encoder.safetensors of"
    ):
        load_encoder(run.path / "encoder.stablehlo")


def test_a_format_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(UserError, match="--format is 'pth', expected one of safetensors, stablehlo"):
        export.run(small_run.Workdir(str(tmp_path)), format="pth")
