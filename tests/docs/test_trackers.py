"""The logs for W&B and MLflow of docs/extending.md have each record once, without a network, after a crash too."""

import struct
import sys

import pytest
from etils import epath

from tcl_jax.run.metrics_log import MetricsLog, read_metrics, resolve_sinks
from tests.docs.test_extending import BLOCKS, MLFLOW

pytestmark = pytest.mark.slow

BEFORE = [{"step": 10, "loss": 1.0}, {"step": 20, "loss": 0.9}, {"step": 20, "validation_knn": 0.5}]
AFTER = [{"step": 20, "loss": 0.9}, {"step": 20, "validation_knn": 0.5}, {"step": 30, "loss": 0.8}]
ONCE = [*BEFORE, AFTER[-1]]


@pytest.fixture
def crash_and_continue(tmp_path, monkeypatch):
    """(file, source, name) -> the folder of a run that was killed after step 20 and continued from step 10."""

    def run(file, source, name):
        (tmp_path / f"{file}.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        path = epath.Path(tmp_path / "run" / "metrics.jsonl")
        path.parent.mkdir()
        sinks = resolve_sinks([f"{file}:{name}"])
        for after_step, records in ((0, BEFORE), (10, AFTER)):
            config = {"loss": {"k1": 5000.0, "views": ("none", "crop_flip")}}
            with MetricsLog(path, after_step=after_step, sinks=sinks, name="digits", config=config) as log:
                for record in records:
                    log.append({"epoch": 1, **record})
        assert [record["step"] for record in read_metrics(path)] == [record["step"] for record in ONCE]
        sys.modules.pop(file)
        return path.parent

    return run


def offline_records(path):
    """The messages in a file of W&B's: blocks of 32 KiB of pieces, each (checksum, length, kind), as in LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole one, or the last piece
            yield Record.FromString(whole)
            whole = b""


def test_weights_and_biases_offline(crash_and_continue, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="W&B is not installed: make test-prepare, as .ci/run does")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    workdir = crash_and_continue("my_log", BLOCKS["A log"].source, "WandbLog")
    wandb.teardown()  # waits for the process that writes the files, as the end of a training does
    files = sorted(workdir.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    assert {file.name for file in files} == {f"run-{(workdir / 'wandb_id').read_text()}.wandb"}
    logged = []
    for file in files:
        for record in offline_records(file):
            items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            logged += [(int(items["step"]), key) for key in ("loss", "validation_knn") if key in items]
    assert logged == [(r["step"], key) for r in ONCE for key in ("loss", "validation_knn") if key in r]


def test_mlflow_in_a_folder(crash_and_continue, tmp_path, monkeypatch):
    mlflow = pytest.importorskip(
        "mlflow", reason="MLflow is not installed: make test-prepare, as .ci/run does"
    )
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    workdir = crash_and_continue("my_mlflow", MLFLOW.source, "MlflowLog")
    client = mlflow.MlflowClient()
    run = (workdir / "mlflow_run").read_text()
    for key in ("loss", "validation_knn"):
        history = [(metric.step, metric.value) for metric in client.get_metric_history(run, key)]
        assert history == [(r["step"], r[key]) for r in ONCE if key in r]
    assert "5000" in client.get_run(run).data.params["loss"]
