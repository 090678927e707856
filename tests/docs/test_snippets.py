"""Every Python block of the pages runs, each with names of its own, and does what the text around it says."""

import functools
import pathlib
import re
import shutil
import tempfile
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from configs import digits_finetune
from tcl_jax import load_encoder, losses
from tcl_jax.config import defaults
from tcl_jax.encoder.exported import PROJECTION
from tcl_jax.experiment.parts import make_parts
from tcl_jax.fields import flat_items
from tcl_jax.modes import export
from tcl_jax.parallel import make_mesh
from tests.losses import reference
from tests.modes.small_run import FACTS, description_64, images, write_run

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ("README.md", "docs/losses.md", "docs/micro_batches.md", "docs/encoders.md")


class Block(NamedTuple):
    """A fenced block: its page, the heading above it with its number there, its first line, its text."""

    page: str
    heading: str
    line: int
    source: str


def fenced_blocks(page, wanted="python"):
    blocks, heading, number, opened = [], "", 0, None
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    for line, text in enumerate(lines, start=1):
        if opened is None and text.startswith("#"):
            heading, number = text.lstrip("# "), 0
        elif opened is None and text.startswith("```"):
            opened, language = line, text.removeprefix("```").strip()
        elif text.startswith("```"):
            if language == wanted:
                number += 1
                source = "\n".join(lines[opened : line - 1])
                blocks.append(Block(page, f"{heading} ({number})", opened + 1, source))
            opened = None
    assert opened is None, f"{page}:{opened} opens a block that is never closed"
    return blocks


BLOCKS = [block for page in PAGES for block in fenced_blocks(page)]


def run(block, given):
    """The names that the block leaves, starting from those given. Errors name the line of the page."""
    names = {"__name__": "snippet"} | given
    exec(compile("\n" * (block.line - 1) + block.source, ROOT / block.page, "exec"), names)
    return names


# What the fragments in README expect to be there.
ROWS, LABELS, WEIGHTS, COEFFICIENTS = reference.random_case(0, n=32)


@functools.cache
def written_once():
    """A run of two checkpoints, which each block that needs one gets a copy of."""
    return write_run(pathlib.Path(tempfile.mkdtemp()) / "run")


def a_run(path, name="digits_tcl"):
    """The run and the images that the text speaks of."""
    shutil.copytree(written_once().path, path / "runs" / name)
    return dict(images=images(9), queries=images(9)[5:8])


def files_of_images(path):
    (path / "photos").mkdir()
    for number, pixels in enumerate(images(9)):
        Image.fromarray(pixels).save(path / "photos" / f"{number}.png")
    return a_run(path)


def a_run_and_labels(path):
    return a_run(path) | dict(labels=np.arange(9) % 4)


def a_program(path):
    workdir = written_once()
    export.run(workdir, format="stablehlo")
    (path / "encoder.stablehlo").write_bytes((workdir.path / "encoder.stablehlo").read_bytes())
    return dict(images=images(9))


def an_export(path):
    workdir = written_once()
    export.run(workdir)
    for name in ("encoder.safetensors", PROJECTION):
        (path / name).write_bytes((workdir.path / name).read_bytes())
    return {}


GIVEN = {
    ("README.md", "Use the losses (2)"): dict(
        embeddings=jnp.asarray(ROWS), texts=np.roll(ROWS, 1, axis=0), labels=LABELS
    ),
    ("README.md", "Your own images (1)"): partial(a_run, name="image_folder_tcl"),
    ("docs/encoders.md", "1. In Python (1)"): a_run,
    ("docs/encoders.md", "1. In Python (2)"): a_run,
    ("docs/encoders.md", "1. In Python (3)"): files_of_images,
    ("docs/encoders.md", "1. In Python (4)"): a_run_and_labels,
    ("docs/encoders.md", "2. Export (1)"): an_export,
    ("docs/encoders.md", "A program for JAX alone (1)"): a_program,
}


def check_readme_losses(names):
    logits = 10 * ROWS @ names["texts"].T  # of the last of them, CLIP
    logs = [np.log(np.exp(x).sum(axis=1)) - np.diag(x) for x in (logits, logits.T)]
    assert float(names["loss"]) == pytest.approx(np.mean(logs), rel=1e-5)


def check_readme_step(names):
    """The gradient is complete, as the comment in the block says."""
    encode, params, images, labels = (names[name] for name in ("encode", "params", "images", "labels"))
    assert names["mesh"].size == 2
    whole = jax.value_and_grad(lambda params: losses.tcl_loss(encode(params, images), labels))(params)
    assert float(names["loss"]) == pytest.approx(float(whole[0]), rel=1e-6)
    assert reference.relative_error(names["gradient"], whole[1]) < 1e-5


def check_derivation(names):
    assert float(names["loss"]) == pytest.approx(names["value"], rel=1e-6)
    assert len(names["derivatives"]) == len(names["expected"]) == 4
    for ours, by_hand in zip(names["derivatives"], names["expected"], strict=True):
        assert reference.relative_error(ours, by_hand) < 1e-5


def check_psum_and_pmean(names):
    assert names["devices"] == 8
    assert float(names["right"]) == pytest.approx(1.0, rel=1e-5)
    assert float(names["wrong"]) == pytest.approx(1 / 8, rel=1e-5)


def check_falling(names):
    seen = names["losses_seen"]
    assert len(seen) == 20
    assert all(np.isfinite(seen))
    assert seen[-1] < seen[0] - 0.2


def check_two_towers(names):
    seen = names["losses_seen"]
    assert len(seen) == 20
    assert seen[-1] < 0.9 * seen[0]
    assert names["params"]["log_scale"] != np.log(1 / 0.07)


def check_same_as_plain_jax(names):
    check_falling(names)
    (plain,) = (block for block in BLOCKS if block[:2] == ("docs/losses.md", "Plain JAX (1)"))
    np.testing.assert_allclose(names["losses_seen"], run(plain, {})["losses_seen"], rtol=1e-5)


def check_memory_of_parts(names):
    whole, in_parts = names["whole"], names["in_parts"]
    np.testing.assert_allclose(whole, [96, 192], rtol=0.1)
    np.testing.assert_allclose(in_parts, [29, 30], rtol=0.1)


def check_falling_as_at_once(names):
    """The steps are those of whole batches."""
    check_falling(names)
    (plain,) = (block for block in BLOCKS if block[:2] == ("docs/micro_batches.md", "Plain JAX (1)"))
    at_once = plain._replace(
        source=plain.source.replace("micro_batched(encode, 16)", "micro_batched(encode, 64)")
    )
    assert at_once != plain
    np.testing.assert_allclose(names["losses_seen"], run(at_once, {})["losses_seen"], rtol=1e-5)


def check_statistics(names):
    """The running statistics went along."""
    check_falling(names)
    kept = nnx.state(names["encoder"], nnx.BatchStat) if "optimizer" in names else names["statistics"]
    for x in jax.tree.leaves(kept):
        assert not np.any(np.isin(x, (0, 1)))  # where they begin


def check_sweeps(names):
    check_falling(names)
    z, labels = np.asarray(names["z"], np.float64), np.asarray(names["labels"])
    expected = [
        reference.mean_loss(z, labels, np.ones(64), temperature=t, k1=k1, k2=1.0)
        for t, k1 in [(0.05, 0.0), (0.1, 100.0), (0.2, 5000.0)]
    ]
    np.testing.assert_allclose(names["at_once"], expected, rtol=1e-5)
    np.testing.assert_allclose(names["one_by_one"], expected, rtol=1e-5)
    assert not np.isclose(names["log_temperature"], np.log(0.5), atol=0.1)


def check_order_of_views(names):
    assert float(names["right"]) == pytest.approx(float(names["by_labels"]), rel=1e-6)
    assert names["wrong"] > names["right"] + 1


def check_diagnostics(names):
    tcl, trained = names["tcl"], names["trained"]
    shown = [f"{x:.2f}" for x in names["pull"]]
    assert shown == ["0.50", "0.97", "0.00"]
    assert trained.hard_negative_mass == 0
    assert float(tcl.uniformity) == pytest.approx(-3.9, abs=0.1)  # as the table says


def check_features(names):
    assert names["features"].shape == (9, names["encoder"].feature_dim)
    assert names["features"].dtype == np.float32


def check_encoder(names):
    check_features(names)
    encoder, projections = names["encoder"], names["projections"]
    assert projections.shape == (9, encoder.projection_dim)
    np.testing.assert_allclose(np.linalg.norm(projections, axis=1), 1, rtol=1e-5)


def check_nearest(names):
    assert names["encoder"].step == 1  # the best of its two checkpoints
    np.testing.assert_array_equal(names["nearest"], [5, 6, 7])


def check_files(names):
    np.testing.assert_array_equal(names["features"], names["encoder"](images(9)))


def check_linear_layer(names):
    assert names["value"] < 0.95 * np.log(4)  # below chance, by drawn features of drawn labels


def check_program(names):
    expected = load_encoder(written_once().path)(images(9))
    np.testing.assert_allclose(names["features"], expected, rtol=1e-6, atol=1e-6)


def check_export(names):
    """The files hold the fields that the page lists, and no others."""
    assert (tuple(names["mean"]), tuple(names["std"])) == (FACTS.mean, FACTS.std)
    text = (ROOT / "docs/encoders.md").read_text()
    assert all(f"`{name}`" in text for name in names["description"])
    assert load_encoder("encoder.safetensors").description.dataset == names["description"]["dataset"]


def check_finetuning(names):
    """It is a config as configs/digits_finetune.py is one."""
    config, ours = names["get_config"](), digits_finetune.get_config()
    assert make_parts(config, make_mesh()).objective.head == "classifier"
    assert (config.loss.name, config.train.learning_rate) == (ours.loss.name, ours.train.learning_rate)


CHECKS = {
    ("README.md", "Use the losses (1)"): check_readme_step,
    ("README.md", "Use the losses (2)"): check_readme_losses,
    ("docs/losses.md", "The family (1)"): check_two_towers,
    ("docs/losses.md", "2. Gradient (1)"): check_derivation,
    ("docs/losses.md", "5. Many devices (1)"): check_psum_and_pmean,
    ("docs/losses.md", "Plain JAX (1)"): check_falling,
    ("docs/losses.md", "Flax NNX (1)"): check_falling,
    ("docs/losses.md", "Equinox (1)"): check_falling,
    ("docs/losses.md", "Many devices, by shard_map (1)"): check_same_as_plain_jax,
    ("docs/losses.md", "7. Sweeps and learned coefficients (1)"): check_sweeps,
    ("docs/losses.md", "9. Common mistakes (1)"): check_order_of_views,
    ("docs/losses.md", "10. Diagnostics (1)"): check_diagnostics,
    ("docs/micro_batches.md", "How it works (1)"): check_memory_of_parts,
    ("docs/micro_batches.md", "Plain JAX (1)"): check_falling_as_at_once,
    ("docs/micro_batches.md", "Flax Linen (1)"): check_statistics,
    ("docs/micro_batches.md", "Flax NNX (1)"): check_statistics,
    ("docs/micro_batches.md", "Equinox (1)"): check_falling,
    ("docs/micro_batches.md", "Many devices (1)"): check_same_as_plain_jax,
    ("README.md", "Your own images (1)"): check_features,
    ("docs/encoders.md", "1. In Python (1)"): check_encoder,
    ("docs/encoders.md", "1. In Python (2)"): check_nearest,
    ("docs/encoders.md", "1. In Python (3)"): check_files,
    ("docs/encoders.md", "1. In Python (4)"): check_linear_layer,
    ("docs/encoders.md", "2. Export (1)"): check_export,
    ("docs/encoders.md", "5. Fine-tuning (1)"): check_finetuning,
    ("docs/encoders.md", "A program for JAX alone (1)"): check_program,
}


def test_every_block_has_its_check():
    assert sorted((block.page, block.heading) for block in BLOCKS) == sorted(CHECKS)


def in_turn(block):
    """README's blocks are tried with every change, those of the longer pages with the slow tests."""
    marks = [] if block.page == "README.md" else [pytest.mark.slow]
    return pytest.param(block, id=f"{block.page}:{block.heading}", marks=marks)


@pytest.mark.parametrize("block", [in_turn(block) for block in BLOCKS])
def test_block(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = GIVEN.get((block.page, block.heading), {})
    names = run(block, given(tmp_path) if callable(given) else given)
    CHECKS[block.page, block.heading](names)


@pytest.mark.parametrize(("stem", "model", "number"), [("imagenet", "resnet50", 0), ("cifar", "resnet18", 1)])
def test_lines_for_pytorch_are_those_that_the_export_prints(stem, model, number):
    block = fenced_blocks("docs/encoders.md", "py")[number]
    printed = export.how_to_load(description_64(model=model, stem=stem), "encoder.safetensors").splitlines()[
        1:
    ]
    lines = [line for line in block.source.splitlines() if line.startswith("model")]
    assert lines == [*(line.strip() for line in printed), "model.eval()"]


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]
)
def test_commands_name_fields_and_configs_that_exist(page):
    text = (ROOT / page).read_text()
    fields = set(re.findall(r"--config\.([\w.]*\w)=", text)) | set(re.findall(r"--sweep=([\w.]+)=", text))
    assert fields <= dict(flat_items(defaults())).keys()
    assert all((ROOT / path).is_file() for path in re.findall(r"--config=(configs/\w+\.py)", text))
