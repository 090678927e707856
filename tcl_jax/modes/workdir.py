"""The folder of one run: which run it belongs to, and where its files lie."""

import json
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from tcl_jax.errors import UserError
from tcl_jax.modes.fields import flat_items
from tcl_jax.modes.machine import describe
from tcl_jax.report.files import write_whole

# Where data lie, how they are read and how often a run tells of itself change no figure: they may differ between two
# starts of a run.
_MAY_DIFFER = ("data.data_dir", "data.streaming", "log.", "checkpoint.", "probe.")


class Workdir:
    """Paths of a run: config.json, metrics.jsonl, results.json, results_best.json, and the folders beside them."""

    def __init__(self, path: str):
        self.path = epath.Path(path).expanduser().resolve()
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.profile = self.path / "profile"
        self.checkpoints = self.path / "checkpoints"
        self.results = self.path / "results.json"
        self.results_best = self.path / "results_best.json"

    def read_config(self) -> tuple[str, ConfigDict]:
        """Name and config with which the run was started.

        Raises:
          UserError: there is no run in this folder.
        """
        stored = self._read_start()
        return stored["name"], ConfigDict(stored["config"])

    def _read_start(self) -> dict[str, Any]:
        """What config.json holds: name and config of the run, and the machine that it was last started on."""
        if not self.config.exists():
            raise UserError(
                f"There is no run in {self.path} (no config.json): "
                "give the folder of a run with --workdir, or train one first with --mode=train."
            )
        try:
            stored = json.loads(self.config.read_text())
            parts = {part: dict(stored[part]) for part in ("config", "machine")}
            return {"name": str(stored["name"]), **parts}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.config} is damaged: delete it and start the run again with its own config, "
                "which continues from its checkpoints."
            ) from error

    def read_results(self) -> dict[str, Any] | None:
        """The figures of the last evaluation of the latest checkpoint, or None where there is none."""
        try:
            return json.loads(self.results.read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):  # a damaged file is made again
            return None

    def write_results(self, results: dict[str, Any], checkpoint: str) -> None:
        """Write results.json for the "latest" checkpoint, results_best.json for the "best"."""
        path = self.results_best if checkpoint == "best" else self.results
        write_whole(path, json.dumps(results, indent=2) + "\n")

    def claim(self, name: str, config: ConfigDict) -> None:
        """Make the folder that of a run with `config`, which is called `name`, or confirm that it is.

        Says so where versions, devices or cores are not those of the last start: the bits of the figures may change.

        Raises:
          UserError: the folder holds a run with another config, or cannot be written.
        """
        machine = describe()
        if self.config.exists():
            start = self._read_start()
            # By way of JSON, which makes a list of a tuple.
            before, now = (dict(flat_items(c)) for c in (start["config"], json.loads(config.to_json())))
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
            then = dict(flat_items(start["machine"]))
            moved = [
                f"{what.removeprefix('versions.')} {then[what]} -> {value}"
                for what, value in flat_items(machine)
                if then.get(what, value) != value
            ]
            if moved:
                print(f"Changed since the last start, so that the last bits may differ: {', '.join(moved)}.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            stored = {"name": name, "config": json.loads(config.to_json()), "machine": machine}
            write_whole(self.config, json.dumps(stored, indent=2) + "\n")
        except OSError as error:
            raise UserError(
                f"The workdir {self.path} cannot be written ({error.strerror}): give another with --workdir."
            ) from error
