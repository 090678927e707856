"""Features of image files: the pixels that go in are those that training reads from the same files."""

import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from tcl_jax.data import image_folder
from tcl_jax.data.dataset import Options
from tcl_jax.encoder.image_files import in_batches
from tcl_jax.encoder.load import Encoder
from tcl_jax.encoder.trained_encoder import TrainedEncoder
from tcl_jax.errors import UserError
from tcl_jax.parallel import make_mesh
from tests.modes.small_run import description_64

MODES = ["RGB", "L", "RGBA", "P", "CMYK", "LA", "1"]


def encoder_of(*image_shape):
    mesh = make_mesh(1)
    description = description_64(
        model="tests.modes.tiny_encoder:Tiny",
        width=4,
        projection_dim=6,
        image_shape=image_shape,
        mean=(0.5,) * image_shape[-1],
        std=(0.3,) * image_shape[-1],
    )
    model = description.make_model(mesh)
    variables = model.init(jax.random.key(0), np.zeros((1, *image_shape), np.float32), train=False)
    return Encoder(TrainedEncoder(model, variables, description), mesh)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of each mode, in sizes of their own; the first is a photograph held upright."""
    folder = tmp_path_factory.mktemp("data") / "train" / "a"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = []
    for number, mode in enumerate(MODES):
        pixels = rng.integers(0, 256, (20 + 3 * number, 31 - 4 * number, 3)).astype(np.uint8)
        image = Image.fromarray(pixels).convert(mode)
        ending = "jpg" if mode in ("RGB", "CMYK") else "png"
        paths.append(folder / f"{number}.{ending}")
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned
        image.save(paths[-1], **(dict(exif=exif) if mode == "RGB" else {}))
    return paths


def test_the_pixels_are_those_of_training(files):
    options = Options(data_dir=str(files[0].parents[2]), train_split="train", test_split="", image_size=12)
    trained_on = image_folder.load("image_folder", options).train.images[:]
    (found,) = in_batches(lambda images: images, files, image_shape=(12, 12, 3), batch_size=7)
    # Training draws an order of its own.
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in trained_on)
    encoder = encoder_of(12, 12, 3)
    np.testing.assert_array_equal(encoder.from_files(files, batch_size=7), encoder(found, batch_size=7))


def test_colour_becomes_grey_for_an_encoder_of_grey_images(files):
    encoder = encoder_of(12, 12, 1)
    with Image.open(files[1]) as image:
        grey = image.copy()
    assert encoder.from_files(files).shape == (len(files), 8)
    square = files[0].parents[1] / "square.png"
    grey.crop((0, 0, 12, 12)).convert("RGB").save(square)
    expected = np.asarray(grey.crop((0, 0, 12, 12)))[None, ..., None]
    np.testing.assert_array_equal(encoder.from_files([square]), encoder(expected))


def test_batches_progress_and_kinds_of_paths(files, capfd):
    encoder = encoder_of(12, 12, 3)
    at_once = encoder.from_files(files)
    in_parts = encoder.from_files((str(path) for path in files), batch_size=3)
    np.testing.assert_allclose(in_parts, at_once, rtol=1e-5, atol=1e-6)
    assert "7/7" in capfd.readouterr().err
    assert encoder.from_files([]).shape == (0, 8)


def test_no_more_than_a_batch_is_read(files, tmp_path):
    copies = [tmp_path / path.name for path in files]
    for path, copy in zip(files, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    batches = in_batches(len, copies, image_shape=(12, 12, 3), batch_size=3)
    assert next(batches) == 3
    for copy in copies[:3]:
        copy.unlink()
    assert next(batches) == 3
    copies[6].unlink()
    with pytest.raises(UserError, match=rf"The image .*{copies[6].name} cannot be read"):
        next(batches)


def damaged_files(tmp_path):
    whole = tmp_path / "whole.png"
    Image.fromarray(np.zeros((14, 14, 3), np.uint8)).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:50])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    Image.fromarray(np.zeros((14, 14), np.uint16)).save(tmp_path / "deep.png")
    return whole


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cut.png", ".+"),
        ("text.png", "cannot identify image file"),
        ("empty.png", "cannot identify image file"),
        ("folder.png", "Is a directory"),
        ("nothing.png", "No such file or directory"),
        ("deep.png", "its pixels are of Pillow's mode I;16, expected 8 bits per channel"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_one_sentence(name, why, tmp_path):
    whole, wrong = damaged_files(tmp_path), tmp_path / name
    with pytest.raises(
        UserError, match=rf"^The image {wrong} cannot be read \({why}.*\): replace it"
    ) as raised:
        encoder_of(12, 12, 3).from_files([whole, wrong])
    assert "\n" not in str(raised.value)


def test_an_encoder_of_images_that_are_not_square_takes_files_of_its_size_alone(tmp_path):
    encoder = encoder_of(12, 10, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "fits.png")
    Image.fromarray(pixels.swapaxes(0, 1)).save(tmp_path / "turned.png")
    np.testing.assert_array_equal(encoder.from_files([tmp_path / "fits.png"]), encoder(pixels[None]))
    with pytest.raises(UserError, match=r"turned.png is 10x12, expected 12x10: the encoder was trained"):
        encoder.from_files([tmp_path / "turned.png"])


@pytest.mark.parametrize("path", ["a.png", b"a.png", pathlib.Path("a.png")])
def test_one_path_alone_is_refused(path):
    with pytest.raises(UserError, match=r"a.png'.*, expected a list of paths"):
        encoder_of(12, 12, 3).from_files(path)


def test_what_is_not_a_batch_or_has_channels_that_files_lack_is_refused(files):
    with pytest.raises(UserError, match="batch_size is 0, expected 1 or more"):
        encoder_of(12, 12, 3).from_files(files, batch_size=0)
    with pytest.raises(UserError, match="images of 5 channels, which image files do not have"):
        encoder_of(12, 12, 5).from_files(files)
