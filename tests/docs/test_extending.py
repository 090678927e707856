"""Each example of docs/extending.md trains by the command under it, and does what the page says of it."""

import ast
import pathlib
import re
import shlex
import sys
import types

import numpy as np
import pytest

from tcl_jax.experiment import build
from tcl_jax.modes import train
from tcl_jax.parallel import make_mesh
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir
from tests.docs.test_snippets import ROOT, fenced_blocks
from tests.modes.tiny import tiny_config

PAGE = "docs/extending.md"
BLOCKS = {block.heading.removesuffix(" (1)"): block for block in fenced_blocks(PAGE)}
MLFLOW = BLOCKS.pop("A log (2)")
TEXT = (ROOT / PAGE).read_text()


def fields_of(heading):
    """What the command under an example sets, by field."""
    section = TEXT[TEXT.index(f"## {heading}") :].split("\n## ")[0]
    (command,) = re.findall(r"^    (python main\.py .*)$", section, flags=re.MULTILINE)
    words = shlex.split(command)
    assert words[:3] == ["python", "main.py", "--config=configs/digits_tcl.py"]
    fields = {}
    for word in words[3:]:
        name, value = word.removeprefix("--config.").split("=", 1)
        try:
            fields[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            fields[name] = value
    return fields


class Wandb:
    """Stands for the package wandb."""

    def __init__(self):
        self.options, self.records, self.finished = None, [], False

    def init(self, **options):
        self.options = options
        return types.SimpleNamespace(log=self.log, finish=self.finish)

    def log(self, record, step):
        assert step == record["step"]
        self.records.append(record)

    def finish(self):
        self.finished = True


@pytest.fixture
def trained(tmp_path, tmp_path_factory):
    """(headings) -> the run by these examples and their commands, with fewer steps; and the stand-in for wandb."""

    def run(*headings):
        names = []
        config = tiny_config(tmp_path_factory.getbasetemp() / "data", epochs=2)
        config.probe.epochs = 1
        for heading in headings:
            source = BLOCKS[heading].source
            names.append(re.match(r"# (\w+)\.py\n", source)[1])
            (tmp_path / f"{names[-1]}.py").write_text(source)
            config.update_from_flattened_dict(fields_of(heading))
        if config.data.name != "digits":
            config.data.update(train_split="train", test_split="test")
        workdir, wandb = Workdir(str(tmp_path / "run")), Wandb()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "wandb", wandb)
            patch.syspath_prepend(str(tmp_path))
            patch.setattr("tcl_jax.experiment.results.write_page", lambda *_: None)
            patch.setattr(build, "make_mesh", lambda: make_mesh(1))  # which compiles in half the time
            train.run(config, workdir, "digits_tcl")
            for name in names:
                sys.modules.pop(name)
        return workdir, workdir.read_results(), wandb

    return run


def test_encoder_policy_optimizer_metric_and_log_train_together(trained):
    workdir, results, wandb = trained(
        "An encoder", "An augmentation policy", "An optimizer", "A schedule", "A metric", "A log"
    )
    assert results["epochs"] == 2
    assert results["metrics"].keys() == {"knn", "nearest_accuracy"}
    assert min(results["metrics"].values()) > 0.15  # chance is 0.1
    assert results["best"]["metric"] == "nearest_accuracy"
    assert wandb.records == read_metrics(workdir.metrics)
    assert wandb.finished
    assert wandb.options["config"]["model"]["name"] == "my_encoder:Small"
    assert wandb.options["id"] == (workdir.path / "wandb_id").read_text()


@pytest.mark.slow
def test_loss_and_data_set_train_together(trained):
    _, results, _ = trained("A loss", "A data set")
    assert (results["epochs"], results["loss"], results["dataset"]) == (
        2,
        "my_loss:alignment_and_uniformity",
        "stripes",
    )
    assert np.isfinite(results["final_train_loss"])
    assert results["metrics"]["knn"] > 0.5  # chance is 0.25


def test_every_seam_has_its_example():
    table = re.findall(r"^\| \[`[^|]*\]\(#([a-z-]+)\)", TEXT, flags=re.MULTILINE)
    assert sorted(table) == sorted(heading.lower().replace(" ", "-") for heading in BLOCKS)


def test_known_names_are_all_on_the_page():
    from tcl_jax.augment import POLICIES
    from tcl_jax.evaluate import METRICS
    from tcl_jax.models import ENCODERS
    from tcl_jax.run.metrics_log import SINKS
    from tcl_jax.train.learning_rate import SCHEDULES
    from tcl_jax.train.objective import LOSSES
    from tcl_jax.train.optimizer import OPTIMIZERS

    for table in (ENCODERS, POLICIES, LOSSES, OPTIMIZERS, SCHEDULES, SINKS, METRICS.keys() - {"classifier"}):
        for name in table:
            assert f"`{name}`" in TEXT, name


def test_the_page_is_short():
    assert len(pathlib.Path(ROOT / PAGE).read_text().splitlines()) < 280
