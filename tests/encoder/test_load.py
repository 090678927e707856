"""A trained encoder without its data: features and projections are those that evaluation computes, anywhere."""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import save_file

from tcl_jax import load_encoder
from tcl_jax.data import Split
from tcl_jax.encoder import load as encoder_module
from tcl_jax.encoder.exported import PROJECTION
from tcl_jax.encoder.initial import read_initial
from tcl_jax.errors import RunFailed, UserError
from tcl_jax.evaluate import extract_features
from tcl_jax.models import make_encode
from tcl_jax.models.tensor_file import read_tensors, write_tensors
from tcl_jax.modes import export
from tcl_jax.parallel import make_mesh
from tcl_jax.run.workdir import Workdir
from tests.modes import small_run
from tests.modes.small_run import FACTS, drawn_state, images, program_of


def small_config():
    """Of an encoder that compiles fast; test_export.py has those of torchvision's names."""
    config = small_run.small_config()
    config.model.update(name="tests.modes.tiny_encoder:Tiny", width=8)
    return config


def write_run(path, config=None, **options):
    return small_run.write_run(path, config or small_config(), **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Checkpoints of steps 1, the best, and 2, the latest; exported too."""
    workdir = write_run(tmp_path_factory.mktemp("run"))
    export.run(workdir)
    return workdir


@pytest.fixture(scope="module")
def loaded(run):
    return load_encoder(run.path)


def evaluated_features(step, pixels, *, batch_size, devices=8):
    """What evaluation makes of images with the state of a step, of which the moving average counts."""
    config, mesh = small_config(), make_mesh(devices)
    variables = jax.device_get(drawn_state(config, step=step).average)
    encode = make_encode(program_of(config).model, mean=FACTS.mean, std=FACTS.std, mesh=mesh)
    split = Split(pixels, np.zeros(len(pixels), np.int32))
    return extract_features(encode, variables, split, batch_size=batch_size, mesh=mesh)


@pytest.mark.parametrize("devices", [1, 8])
def test_features_are_those_of_evaluation(run, loaded, devices, monkeypatch):
    if devices == 1:
        monkeypatch.setattr(encoder_module, "make_mesh", lambda: make_mesh(1))
        loaded = load_encoder(run.path)
    pixels = images(37)
    features = loaded(pixels, batch_size=16)
    assert (features.shape, features.dtype) == ((37, 16), np.float32)
    expected = evaluated_features(2, pixels, batch_size=16, devices=devices)
    np.testing.assert_array_equal(features, expected)


@pytest.mark.slow
def test_of_an_encoder_without_batch_norm_the_moving_average_is_taken_too(tmp_path):
    config = small_run.small_config()
    config.model.update(name="tests.modes.tiny_encoder:Deep", width=8)
    write_run(tmp_path, config)
    expected = jax.device_get(drawn_state(config, step=2).average["params"])
    loaded = load_encoder(tmp_path)
    assert loaded(images(3)).shape == (3, 8)
    jax.tree.map(np.testing.assert_array_equal, dict(loaded.variables), {"params": expected["encoder"]})
    tensors = read_initial(str(tmp_path), make_mesh(1)).tensors
    np.testing.assert_array_equal(tensors["params/Dense_0/kernel"], expected["encoder"]["Dense_0"]["kernel"])


def test_any_number_of_images_and_any_batch_size(loaded):
    pixels = images(37)
    features = loaded(pixels)
    assert loaded(pixels[:0]).shape == (0, 16)
    assert loaded.project(pixels[:0]).shape == (0, 6)
    np.testing.assert_allclose(loaded(pixels[:1]), features[:1], rtol=1e-5)
    np.testing.assert_allclose(
        loaded(pixels, batch_size=9), features, rtol=1e-5
    )  # 16 at a time, on 8 devices


def test_projections_are_those_of_the_head(loaded):
    pixels = images(11)
    variables = jax.device_get(drawn_state(small_config(), step=2).average)
    head = program_of(small_config()).model.apply(variables, loaded(pixels), method="apply_head")
    projections = loaded.project(pixels)
    assert (projections.shape, projections.dtype) == ((11, 6), np.float32)
    np.testing.assert_allclose(projections, head, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(projections, axis=1), 1, rtol=1e-5)


def test_it_describes_itself(loaded):
    assert loaded.image_shape == (12, 8, 3)
    assert (loaded.mean, loaded.std) == (FACTS.mean, FACTS.std)
    assert loaded.class_names == ("ant", "bee", "cat", "dog")
    assert (loaded.config_name, loaded.step, loaded.feature_dim, loaded.projection_dim) == ("small", 2, 16, 6)
    assert (
        repr(loaded) == "<Encoder small, step 2: tests.modes.tiny_encoder:Tiny, images 12x8x3 -> 16 features>"
    )


def test_the_best_checkpoint(run):
    best = load_encoder(run.path, checkpoint="best")
    assert best.step == 1
    pixels = images(8)
    np.testing.assert_array_equal(best(pixels), evaluated_features(1, pixels, batch_size=8))


def test_an_exported_encoder_is_the_same_to_the_last_bit(run, loaded, tmp_path):
    for name in ("encoder.safetensors", PROJECTION):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    found = load_encoder(tmp_path / "encoder.safetensors")
    assert found.description == loaded.description
    pixels = images(13)
    np.testing.assert_array_equal(found(pixels), loaded(pixels))
    np.testing.assert_array_equal(found.project(pixels), loaded.project(pixels))

    (tmp_path / PROJECTION).unlink()
    alone = load_encoder(tmp_path / "encoder.safetensors")
    np.testing.assert_array_equal(alone(pixels), loaded(pixels))
    with pytest.raises(UserError, match=f"no projection head: it was trained with tcl, or .*{PROJECTION}"):
        alone.project(pixels)


def test_the_projection_of_another_export_is_not_taken(run, tmp_path):
    (tmp_path / "encoder.safetensors").write_bytes(run.encoder.read_bytes())
    tensors, metadata = read_tensors(run.path / PROJECTION)
    write_tensors(epath.Path(tmp_path / PROJECTION), tensors, metadata | {"step": "3"})
    assert load_encoder(tmp_path / "encoder.safetensors").projection_dim is None


def copy_of(run, path):
    shutil.copytree(run.path, path, dirs_exist_ok=True)
    return Workdir(str(path))


def test_a_run_in_training_is_read_and_not_touched(run, tmp_path):
    workdir = copy_of(run, tmp_path)
    unfinished = workdir.checkpoints / "7.orbax-checkpoint-tmp-1"
    unfinished.mkdir()
    (workdir.checkpoints / "2" / "metrics" / "metrics").write_text("{")

    def everything():
        return {
            str(path): (
                path.stat().st_mtime_ns,
                path.is_file() and hashlib.sha256(path.read_bytes()).digest(),
            )
            for path in sorted(tmp_path.rglob("*"))
        }

    with workdir.locked():
        before = everything()
        assert load_encoder(tmp_path).step == 2
        assert load_encoder(tmp_path, checkpoint="best").step == 1
        assert everything() == before


def damage(workdir, step):
    for path in pathlib.Path(workdir.checkpoints / str(step) / "model").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-40] + bytes(40))


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_read(run, tmp_path, capsys):
    workdir = copy_of(run, tmp_path)
    damage(workdir, 2)
    assert load_encoder(tmp_path).step == 1
    assert "step 2 is damaged" in capsys.readouterr().out
    damage(workdir, 1)
    with pytest.raises(RunFailed, match="None of the 2 checkpoints"):
        load_encoder(tmp_path)
    with pytest.raises(RunFailed, match="that of step 1, is damaged"):
        load_encoder(tmp_path, checkpoint="best")


@pytest.mark.slow
def test_a_classifier_has_no_projections(tmp_path):
    config = small_config()
    config.loss.name = "cross_entropy"
    config.train.ema_decay = 0.0
    workdir = write_run(tmp_path, config, validation_knn=(0.1,))
    export.run(workdir)
    assert not (tmp_path / PROJECTION).exists()
    for path in (tmp_path, workdir.encoder):
        found = load_encoder(path)
        assert found(images(3)).shape == (3, 16)
        with pytest.raises(UserError, match="trained with cross_entropy"):
            found.project(images(3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (images(2).astype(np.float32) / 255, "are float32, expected uint8 with values 0 to 255"),
        (images(2)[0], r"shape \[12, 8, 3\], expected \[n, 12, 8, 3\]"),
        (images(2)[..., :1], r"shape \[2, 12, 8, 1\], expected \[n, 12, 8, 3\]"),
        (images(2).swapaxes(1, 2), r"shape \[2, 8, 12, 3\], expected"),
        ([], "are float64, expected uint8"),
    ],
)
def test_other_images_are_refused(loaded, given, message):
    for function in (loaded, loaded.project):
        with pytest.raises(UserError, match=message):
            function(given)


def test_a_batch_of_no_images_is_refused(loaded):
    with pytest.raises(UserError, match="batch_size is 0, expected 1 or more"):
        loaded(images(2), batch_size=0)


def test_what_is_not_an_encoder_is_refused(run, tmp_path):
    with pytest.raises(UserError, match=r"nothing does not hold an encoder: give the workdir of a run"):
        load_encoder(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"a.safetensors cannot be read \(No such file"):
        load_encoder(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"checkpoint is 'last', expected one of latest, best"):
        load_encoder(run.path, checkpoint="last")
    with pytest.raises(UserError, match=r"checkpoint is 'best', but .* an exported encoder"):
        load_encoder(run.encoder, checkpoint="best")
    save_file({"conv1.weight": np.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match=r"does not describe the images of its encoder.* model.init_from"):
        load_encoder(tmp_path / "b.safetensors")


def test_a_run_that_is_not_far_enough_is_refused(tmp_path):
    workdir = write_run(tmp_path, validation_knn=())
    with pytest.raises(UserError, match=r"has no checkpoint yet: train it first"):
        load_encoder(tmp_path)
    write_run(tmp_path, validation_knn=(None,))
    assert load_encoder(tmp_path).step == 1
    with pytest.raises(UserError, match="no best checkpoint"):
        load_encoder(tmp_path, checkpoint="best")

    stored = json.loads(workdir.description.read_text())
    stored.pop("stem")
    workdir.description.write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"by another version of tcl_jax \(.*stem"):
        load_encoder(tmp_path)
    workdir.description.unlink()
    with pytest.raises(
        UserError, match=r"encoder\.json is missing or damaged, without which the encoder cannot"
    ):
        load_encoder(tmp_path)


@pytest.mark.slow
def test_it_needs_neither_training_nor_evaluation(run):
    code = (
        f"import sys, tcl_jax; tcl_jax.load_encoder({str(run.path)!r}); "
        "ours = [name for name in sys.modules if name.split('.')[0] == 'tcl_jax']; "
        "others = [name for name in ('optax', 'tensorboardX', 'PIL', 'matplotlib') if name in sys.modules]; "
        "print(len(ours), others)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    count, others = found.split(maxsplit=1)
    assert int(count) < 40
    assert others == "[]\n"


def test_the_losses_alone_load_nothing_of_it():
    code = (
        "import sys; from tcl_jax import losses; "
        "sys.exit(any(name in sys.modules for name in ('flax', 'orbax', 'safetensors', 'ml_collections')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
