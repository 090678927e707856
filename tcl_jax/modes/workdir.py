"""The folder of one run: which run it belongs to, and where its files lie."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from tcl_jax.errors import UserError
from tcl_jax.report.files import write_whole

# Where data lie and how often a run tells of itself change no figure: they may differ between two starts of a run.
_MAY_DIFFER = ("data.data_dir", "log.", "checkpoint.", "probe.")


class Workdir:
    """Paths of a run: config.json, metrics.jsonl, checkpoints/, results.json."""

    def __init__(self, path: str):
        self.path = epath.Path(path).expanduser().resolve()
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.results = self.path / "results.json"

    def read_config(self) -> tuple[str, ConfigDict]:
        """Name and config with which the run was started.

        Raises:
          UserError: there is no run in this folder.
        """
        if not self.config.exists():
            raise UserError(
                f"There is no run in {self.path} (no config.json): "
                "give the folder of a run with --workdir, or train one first with --mode=train."
            )
        try:
            stored = json.loads(self.config.read_text())
            return stored["name"], ConfigDict(stored["config"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.config} is damaged: delete it and start the run again with its own config, "
                "which continues from its checkpoints."
            ) from error

    def read_results(self) -> dict[str, Any] | None:
        """The figures of the last evaluation, or None where there is none."""
        try:
            return json.loads(self.results.read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):  # a damaged file is made again
            return None

    def write_results(self, results: dict[str, Any]) -> None:
        """Write results.json."""
        write_whole(self.results, json.dumps(results, indent=2) + "\n")

    def claim(self, name: str, config: ConfigDict) -> None:
        """Make the folder that of a run with `config`, which is called `name`, or confirm that it is.

        Raises:
          UserError: the folder holds a run with another config, or cannot be written.
        """
        if self.config.exists():
            # By way of JSON, which makes a list of a tuple.
            before, now = (dict(flat_items(json.loads(c.to_json()))) for c in (self.read_config()[1], config))
            changed = [
                f"{field} ({before.get(field, 'absent')!r} there, {now.get(field, 'absent')!r} now)"
                for field in sorted(before.keys() | now.keys())
                if before.get(field) != now.get(field) and not field.startswith(_MAY_DIFFER)
            ]
            if changed:
                raise UserError(
                    f"{self.path} holds a run with another config: {', '.join(changed)}; "
                    "give another --workdir, or the same config to continue that run."
                )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            stored = {"name": name, "config": json.loads(config.to_json())}
            write_whole(self.config, json.dumps(stored, indent=2) + "\n")
        except OSError as error:
            raise UserError(
                f"The workdir {self.path} cannot be written ({error.strerror}): give another with --workdir."
            ) from error


def flat_items(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"a": {"b": 1}} -> ("a.b", 1)."""
    for name, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flat_items(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
