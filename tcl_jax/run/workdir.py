"""The folder of one run: which run it belongs to, and where its files are."""

import contextlib
import errno
import glob
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import filelock
from ml_collections import ConfigDict

from tcl_jax.errors import DISK_FULL, RunFailed, UserError, WriteFailed
from tcl_jax.fields import flat_items
from tcl_jax.files import is_remote, utf8_path, write_whole, writing
from tcl_jax.processes import on_first
from tcl_jax.run.environment import describe
from tcl_jax.run.stored import last_whole_step

# Where data are, how they are read, what is logged and how a trained encoder is evaluated change nothing of training:
# they may differ between two starts of a run.
_MAY_DIFFER = (
    "data.data_dir",
    "data.evaluate_on.data_dir",
    "data.streaming",
    "log.",
    "checkpoint.",
    "probe.",
    "evaluation.",
)

# Errors of a file system that does not have locks.
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class ConfigFile(NamedTuple):
    """Where a config is from, for the command that makes a run again.

    Attributes:
      name: what --config named, as "digits_tcl" or "mine.py"; "" where it is from elsewhere.
      fields: all fields as the file gives them, by full names.
      defaults: all fields as they are without a file.
      program: how the command was started, as "tcl-jax".
    """

    name: str = ""
    fields: Mapping[str, Any] = {}
    defaults: Mapping[str, Any] = {}
    program: str = "python main.py"  # of runs of older versions, which knew no other


class Workdir:
    """Paths of a run: config.json, data.json, metrics.jsonl, results.json, and the others beside them."""

    def __init__(self, path: str):
        """Raises a UserError where there is no such home folder, or the locale cannot name the path."""
        self.path = utf8_path(path, "The workdir")
        self.config = self.path / "config.json"
        self.data = self.path / "data.json"
        self.description = self.path / "encoder.json"
        self.lock = self.path / "lock"
        self.lock_holder = self.path / "lock_holder"
        self.metrics = self.path / "metrics.jsonl"
        self.profile = self.path / "profile"
        self.checkpoints = self.path / "checkpoints"
        self.results = self.path / "results.json"
        self.results_best = self.path / "results_best.json"
        self.encoder = self.path / "encoder.safetensors"
        self.predictions = self.path / "predictions.npz"
        self.report = self.path / "report"

    def require_run(self) -> None:
        """Raises a UserError where this folder does not hold a run."""
        self._read_start()

    def require_plain_path(self) -> None:
        """Raises a UserError where checkpoints written into this folder could not be read again."""
        if glob.has_magic(str(self.path)):
            raise UserError(
                f"The workdir {self.path} has *, ? or [ in its path, which the library that writes checkpoints takes "
                "for a pattern: give another --workdir."
            )

    def evaluates_as(self, config: ConfigDict) -> bool:
        """Whether the run was evaluated as `config` says.

        Raises:
          UserError: a folder without a run.
        """
        start, now = self._read_start()["config"], json.loads(config.to_json())
        return all(start.get(group) == now[group] for group in ("probe", "evaluation"))

    def read_config(self) -> tuple[str, ConfigDict]:
        """Name and config with which the run was started.

        Raises:
          UserError: a folder without a run.
        """
        stored = self._read_start()
        return stored["name"], ConfigDict(stored["config"])

    def read_config_file(self) -> ConfigFile:
        """Where the config of the run is from, as `claim` was given it.

        Raises:
          UserError: a folder without a run.
        """
        return ConfigFile(**self._read_start()["config_file"])

    def read_data(self) -> dict[str, dict[str, Any]]:
        """What the data were when the run began, as `claim` was given it; empty where the run has not begun.

        Raises:
          UserError: the file is damaged, or gone where it alone says how images are normalised.
        """
        needed = self._began_with_an_encoder()
        again = "restore it, or train anew with another --workdir"
        try:
            return {field: dict(found) for field, found in json.loads(self.data.read_text()).items()}
        except FileNotFoundError:  # or an older version began the run
            if needed:
                raise UserError(
                    f"{self.data} is gone, which says how the images of a run that began with model.init_from are "
                    f"normalised: {again}."
                ) from None
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            todo = again if needed else "delete it, and repeat the command with the same data"
            raise UserError(
                f"{self.data} is damaged, which says on which data the run was trained: {todo}."
            ) from error

    def _began_with_an_encoder(self) -> bool:
        """Whether the run has begun, with weights that were not drawn."""
        if not self.config.exists() or last_whole_step(self.checkpoints) is None:
            return False
        return bool(self._read_start()["config"].get("model", {}).get("init_from"))

    def read_description(self) -> dict[str, Any]:
        """The description of the encoder, as JSON keeps it.

        Raises:
          UserError: a folder without a run, or it has none.
        """
        self._read_start()
        try:
            return dict(json.loads(self.description.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{self.description} is missing or damaged, without which the encoder cannot be used: repeat the "
                "command that trained the run, which writes it again."
            ) from error

    def _read_start(self) -> dict[str, Any]:
        """What config.json holds: name and config of the run, where that is from, and the machine of the last start."""
        if not self.config.exists():
            raise UserError(
                f"The workdir {self.path} does not hold a run (no config.json): "
                "give the folder of a run with --workdir, or train one first with --mode=train."
            )
        try:
            stored = json.loads(self.config.read_text())
            parts = {part: dict(stored[part]) for part in ("config", "machine")}
            config_file = dict(stored.get("config_file", ConfigFile()._asdict()))  # missing in older versions
            return {"name": str(stored["name"]), **parts, "config_file": config_file}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.config} is damaged: delete it and start the run again with its own config, "
                "which continues from its checkpoints."
            ) from error

    def read_results(self) -> dict[str, Any] | None:
        """The results of the last evaluation of the latest checkpoint, or None where there are none."""
        try:
            results = json.loads(self.results.read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):  # a damaged file is made again
            return None
        return results if "metrics" in results else None  # so is that of an older version

    def write_results(self, results: dict[str, Any], checkpoint: str, *, on: str = "") -> str:
        """Write results.json for the "latest" checkpoint, results_best.json for the "best"; return the path.

        Args:
          on: name of other data than the run's, for which results_on_<name>.json and the like are written.
        """
        path = self.results_best if checkpoint == "best" else self.results
        if on:
            path = self.path / f"{path.stem}_on_{re.sub('[^A-Za-z0-9.]+', '_', on)}.json"
        write_whole(path, json.dumps(results, indent=2) + "\n")
        return str(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """While entered, no other process on any machine can enter; the folder is made if it is missing.

        The system gives the lock back when the process ends, however it ends. In remote storage, and on file systems
        that know no locks, there is none. Of several processes of one run the first holds it for all.

        Raises:
          UserError: another process holds it, or the folder cannot be written.
        """
        with contextlib.ExitStack() as held:
            on_first(lambda: self._acquire(held))
            yield

    def refuse_if_locked(self) -> None:
        """Raises the UserError that `locked` would raise now if another process holds the folder; makes nothing."""
        if self.lock.exists():
            with contextlib.ExitStack() as held:
                self._acquire(held)

    def _acquire(self, held: contextlib.ExitStack) -> None:
        """Have `held` hold the lock until it is closed; nothing is held where there are no locks."""
        if is_remote(self.path):
            return
        with self.writable():
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(filelock.FileLock(self.lock, timeout=0))
            except filelock.Timeout as error:
                raise UserError(
                    f"The workdir {self.path} is in use by {self._holder()}: wait until it ends, or give another "
                    "--workdir."
                ) from error
            except NotImplementedError:
                return
            except OSError as error:
                if error.errno not in _WITHOUT_LOCKS:
                    raise
                return
        with contextlib.suppress(OSError):  # a full disk: only the name of the holder is lost
            self.lock_holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")

    def _holder(self) -> str:
        try:
            return self.lock_holder.read_text().strip() or "another process"
        except (OSError, ValueError):
            return "another process"

    @contextlib.contextmanager
    def writable(self) -> Iterator[None]:
        """Around a start's first writes: a folder that cannot be written is the user's mistake, a full disk is not."""
        try:
            with writing(f"The workdir {self.path}"):
                yield
        except WriteFailed as error:
            if error.disk_full:
                raise
            raise UserError(
                f"The workdir {self.path} cannot be written ({error.cause}): give another with --workdir."
            ) from error

    @contextlib.contextmanager
    def failures_reported(self) -> Iterator[None]:
        """What cannot be written within ends the run with a sentence that also names the last good checkpoint.

        Raises:
          RunFailed: such an error.
        """
        try:
            try:
                yield
            except OSError as error:
                if error.errno not in DISK_FULL:
                    raise
                # What is printed may go to a full disk too.
                raise WriteFailed(str(error.filename or "The output of the run"), error) from error
        except WriteFailed as error:
            if not self.path.exists():
                raise RunFailed(
                    f"The workdir {self.path} is gone, removed or unmounted during the run: bring it back and repeat "
                    "the command to continue, or repeat the command to start anew."
                ) from error
            step = last_whole_step(self.checkpoints)
            left = (
                "there is no checkpoint yet"
                if step is None
                else f"the last good checkpoint is that of step {step}"
            )
            raise RunFailed(
                f"{error.what} cannot be written ({error.cause}); {left}: {error.remedy}."
            ) from error

    def claim(
        self,
        name: str,
        config: ConfigDict,
        *,
        config_file: ConfigFile | None = None,
        encoder: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the folder that of a run with `config`, which is called `name`, or confirm that it is.

        Says so where versions, devices or cores are not those of the last start: the last bits may change.

        Args:
          config_file: where the config is from; None keeps what is known. A field that the folder does not have, as an
            older version did not know it, had its default.
          encoder, data: descriptions of its encoder and its data, which are written where a run begins; None leaves
            them as they are.

        Raises:
          UserError: the folder holds a run with another config, or cannot be written.
        """
        machine = describe()
        known: Mapping[str, Any] = ConfigFile()._asdict()
        if self.config.exists():
            start = self._read_start()
            known = start["config_file"]
            # By way of JSON, which makes a list of a tuple.
            before, now = (dict(flat_items(c)) for c in (start["config"], json.loads(config.to_json())))
            defaults = json.loads(json.dumps(config_file.defaults)) if config_file else {}
            before = {**defaults, **before}
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
        stored = {
            "name": name,
            "config": json.loads(config.to_json()),
            "config_file": known if config_file is None else config_file._asdict(),
            "machine": machine,
        }
        with self.writable():
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(self.config, json.dumps(stored, indent=2) + "\n")
            # Those of a run that has trained are true of its checkpoints, whatever is found now.
            begins = last_whole_step(self.checkpoints) is None
            for path, description in ((self.description, encoder), (self.data, data)):
                if description is not None and (begins or not path.exists()):
                    write_whole(path, json.dumps(description, indent=2) + "\n")
