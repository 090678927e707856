"""The curve of a run: one JSON object per line, each with the step after which it was taken."""

import json
from typing import Any

from etils import epath

from tcl_jax.report.files import write_whole


class MetricsLog:
    """Appends records to a file, and continues it where a checkpoint was taken.

    Args:
      path: the file, metrics.jsonl; it is made if it is missing.
      after_step: records of later steps are removed: the steps are about to be done again. 0 starts anew.
    """

    def __init__(self, path: epath.Path, *, after_step: int):
        self._path = path
        kept = [record for record in read_metrics(path) if record["step"] <= after_step]
        write_whole(path, "".join(json.dumps(record) + "\n" for record in kept))

    def append(self, record: dict[str, Any]) -> None:
        """Add one record; "step" is among its keys."""
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def read_metrics(path: epath.Path) -> list[dict[str, Any]]:
    """All records of a metrics file, in order; none where there is no file.

    A last line without its end, as a killed process leaves it, is left out.
    """
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
