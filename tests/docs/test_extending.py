"""Each example of docs/extending.md trains by the command under it, and does what the page says of it."""

import ast
import pathlib
import re
import shlex
import sys
import types

import numpy as np
import pytest

from tcl_jax.modes import train
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir
from tests.docs.test_snippets import ROOT, fenced_blocks
from tests.modes.tiny import tiny_config

PAGE = "docs/extending.md"
BLOCKS = {block.heading.removesuffix(" (1)"): block for block in fenced_blocks(PAGE)}
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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(heading) -> the run by its example and its command, with fewer steps; and the stand-in for wandb."""

    def run(heading):
        folder = tmp_path_factory.mktemp("own")
        block = BLOCKS[heading]
        name = re.match(r"# (\w+)\.py\n", block.source)[1]
        (folder / f"{name}.py").write_text(block.source)
        config = tiny_config(tmp_path_factory.getbasetemp() / "data", epochs=2)
        config.probe.epochs = 1
        config.update_from_flattened_dict(fields_of(heading))
        if config.data.name != "digits":
            config.data.update(train_split="train", test_split="test")
        workdir, wandb = Workdir(str(folder / "run")), Wandb()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "wandb", wandb)
            patch.syspath_prepend(str(folder))
            patch.setattr("tcl_jax.experiment.results.write_page", lambda *_: None)
            train.run(config, workdir, "digits_tcl")
            sys.modules.pop(name)
        return workdir, workdir.read_results(), wandb

    return run


@pytest.mark.parametrize("heading", BLOCKS)
def test_example(heading, trained):
    workdir, results, wandb = trained(heading)
    assert results["epochs"] == 2
    assert np.isfinite(results["final_train_loss"])
    assert results["metrics"]["knn"] > 0.15  # chance is 0.1
    if heading == "A metric":
        assert results["metrics"]["recall_at_1"] > 0.15
        assert results["best"]["metric"] == "recall_at_1"
    if heading == "A log":
        assert wandb.records == read_metrics(workdir.metrics)
        assert wandb.finished
        assert wandb.options["config"]["train"]["epochs"] == 2
    if heading == "A data set":
        assert results["dataset"] == "stripes"
        assert results["metrics"]["knn"] > 0.5


def test_every_seam_has_its_example():
    table = re.findall(r"^\| \[`[^|]*\]\(#([a-z-]+)\)", TEXT, flags=re.MULTILINE)
    assert sorted(table) == sorted(heading.lower().replace(" ", "-") for heading in BLOCKS)


def test_known_names_are_all_on_the_page():
    from tcl_jax.augment import POLICIES
    from tcl_jax.evaluate import METRICS
    from tcl_jax.models import ENCODERS
    from tcl_jax.run.metrics_log import SINKS
    from tcl_jax.train.objective import LOSSES
    from tcl_jax.train.optimizer import OPTIMIZERS

    for table in (ENCODERS, POLICIES, LOSSES, OPTIMIZERS, SINKS, METRICS.keys() - {"classifier"}):
        for name in table:
            assert f"`{name}`" in TEXT, name


def test_the_page_is_short():
    assert len(pathlib.Path(ROOT / PAGE).read_text().splitlines()) < 220
