"""A run's small files in remote storage, which cannot append; a file system in memory stands for it."""

import fsspec
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

from configs import digits_tcl
from tcl_jax.errors import UserError
from tcl_jax.run.metrics_log import SINKS, MetricsLog, read_metrics
from tcl_jax.run.workdir import Workdir
from tests.run.events import shown


class Bucket(MemoryFileSystem):
    """gs:// in memory; as there, nothing can be appended."""

    protocol = ("gs", "gcs")

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("gs://", "memory://"))

    def _open(self, path, mode="rb", **options):
        assert "a" not in mode, f"{path} is opened to append"
        return super()._open(path, mode, **options)


@pytest.fixture
def bucket(monkeypatch):
    for scheme in ("gs", "gcs"):
        fsspec.register_implementation(scheme, Bucket, clobber=True)
    monkeypatch.setattr(Bucket, "store", {})
    monkeypatch.setattr(Bucket, "pseudo_dirs", [""])  # the folders, which fsspec keeps apart from the files
    return epath.Path("gs://bucket/runs/digits")


def records(steps):
    return [{"step": step, "epoch": 0, "loss": 1.0 / step} for step in steps]


def test_the_curve_is_continued_in_remote_storage(bucket, tmp_path):
    path, events = bucket / "metrics.jsonl", bucket / "tensorboard"
    bucket.mkdir(parents=True)
    with MetricsLog(path, after_step=0, sinks=SINKS) as log:
        for number, record in enumerate(records([1, 2, 3])):
            log.append(record)
            assert len(read_metrics(path)) == number + 1  # at once, not at the end
    with MetricsLog(path, after_step=2, sinks=SINKS) as log:  # step 3 is done again
        for record in records([3, 4]):
            log.append(record)
    assert read_metrics(path) == records([1, 2, 3, 4])
    for file in events.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert [step for step, _ in shown(epath.Path(tmp_path))["train/loss"]] == [1, 2, 3, 4]


def test_a_workdir_in_remote_storage_is_claimed_there(bucket):
    config = digits_tcl.get_config()
    workdir = Workdir(str(bucket))
    assert str(workdir.metrics) == "gs://bucket/runs/digits/metrics.jsonl"
    with workdir.locked(), workdir.failures_reported():
        workdir.claim("digits_tcl", config)
    workdir.write_results({"epochs": 3, "metrics": {}}, "latest")
    assert Workdir(str(bucket)).read_results() == {"epochs": 3, "metrics": {}}
    config.train.epochs = 7
    with pytest.raises(UserError, match=r"holds a run with another config: train\.epochs"):
        Workdir(str(bucket)).claim("digits_tcl", config)
