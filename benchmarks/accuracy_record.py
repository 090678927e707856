"""The record of a study in `benchmarks.accuracy`: what it has, what it lacks, and what pilots decide by theirs."""

import functools
import json
import pathlib
import shlex
import statistics

from benchmarks.results import Record
from benchmarks.studies import STUDIES, Row, Study, StudyRun
from tcl_jax.config import defaults
from tcl_jax.fields import flat_items
from tcl_jax.report.results import duration

# Where data are and what is written on the way change no result.
_NO_RESULT = ("data.data_dir", "data.evaluate_on.data_dir", "data.streaming", "log.", "checkpoint.")


def record_path(name: str, folder: pathlib.Path, kind: str) -> pathlib.Path:
    """Where the record of a study is on machines of a kind, which may differ in their rounding."""
    return folder / f"accuracy_{name}_{kind}.json"


def decided(study: Study, folder: pathlib.Path, kind: str) -> Study:
    """The study with what its pilots decide.

    A row takes the fields that a pilot sweeps from that run of a row of the pilot which has the highest kNN accuracy of
    held-out images at its end.

    Raises:
      SystemExit: the record of a pilot is not finished.
    """

    def best(name: str, label: str) -> dict[str, object]:
        pilot, path = decided(STUDIES[name], folder, kind), record_path(name, folder, kind)
        record = read_record(path, name, pilot)
        if left := missing(pilot, record):
            raise SystemExit(
                f"error: {path} lacks {len(left)} runs, which decide the settings of this study: "
                f"make them first, by --study={name}."
            )
        runs = next(row["runs"] for row in record["rows"] if row["label"] == label)
        config = max(runs, key=lambda run: run["curve"][-1]["validation_knn"])["config"]
        return {field: config[field] for field in pilot.swept()}

    def of(row: Row) -> Row:
        return functools.reduce(
            lambda row, pilot: row._replace(settings=row.settings | best(*pilot)), row.pilots, row
        )

    return study._replace(rows=[of(row) for row in study.rows])


def read_record(path: pathlib.Path, name: str, study: Study) -> Record:
    """The record in a file, or one without any run.

    Raises:
      SystemExit: the file is damaged, or has runs that are not of this study as it is now.
    """
    try:
        record = json.loads(path.read_text()) if path.exists() else {"rows": []}
        known = {(row["label"], run["name"]): run for row in record["rows"] for run in row["runs"]}
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(
            f"error: {path} is damaged: delete it or restore it, and repeat the command."
        ) from error
    for run in study.runs():
        other = _differences(run, known.pop((run.row.label, run.point.name), None))
        if other:
            raise SystemExit(
                f"error: {path} has {run.name} with another config than the study now has: {', '.join(other)}. "
                "Move the record away to begin a new one."
            )
    if known:
        raise SystemExit(
            f"error: {path} has {', '.join(next(iter(known)))}, which the study does not have. "
            "Move the record away to begin a new one."
        )
    runs = {row["label"]: row["runs"] for row in record["rows"]}
    return {
        "study": name,
        "command": f"python -m benchmarks.accuracy --study={name}",
        "reduced": study.reduced,
        "about": study.about,
        "swept": study.swept(),
        "rows": [
            {"label": row.label, "command": shlex.join(study.command(row)), "runs": runs.get(row.label, [])}
            for row in study.rows
        ],
    }


def _differences(run: StudyRun, recorded: Record | None) -> list[str]:
    """Fields in which a recorded run is not that of the study; one that it does not have had its default."""
    if recorded is None:
        return []
    # By way of JSON, which makes a list of a tuple.
    known, now = (
        json.loads(json.dumps(dict(flat_items(config)))) for config in (defaults(), run.point.config)
    )
    then = known | recorded["config"]
    return [
        f"{field} ({then.get(field, 'absent')!r} there, {now.get(field, 'absent')!r} now)"
        for field in sorted(then.keys() | now.keys())
        if then.get(field) != now.get(field) and not field.startswith(_NO_RESULT)
    ]


def missing(study: Study, record: Record) -> list[StudyRun]:
    """The runs that a record does not have, in the order in which they are made."""
    return [run for run in study.runs() if find(record, run) is None]


def find(record: Record, run: StudyRun) -> Record | None:
    """What a record has of a run."""
    runs = [one for row in record["rows"] if row["label"] == run.row.label for one in row["runs"]]
    return next((one for one in runs if one["name"] == run.point.name), None)


def added(record: Record, study: Study, run: StudyRun, finished: Record) -> Record:
    """The record with a finished run in its place, instead of what it has of it."""
    places = [point.name for point in study.points(run.row)]
    for row in record["rows"]:
        if row["label"] == run.row.label:
            runs = {one["name"]: one for one in [*row["runs"], finished]}
            row["runs"] = sorted(runs.values(), key=lambda one: places.index(one["name"]))
    return record | {"missing": [one.name for one in missing(study, record)]}


def outlook(study: Study, record: Record) -> str:
    """What is missing, and how long its training will take by the times of the finished runs."""
    left = missing(study, record)
    of_row = {row["label"]: [run["train_seconds"] for run in row["runs"]] for row in record["rows"]}
    all_of_them = [seconds for row in of_row.values() for seconds in row]
    count = f"{len(left)} of {len(study.runs())} runs are missing"
    if not left:
        return f"All {len(study.runs())} runs are there."
    if not all_of_them:
        return f"{count}; how long they take is known when one is finished."
    expected = sum(statistics.fmean(of_row[run.row.label] or all_of_them) for run in left)
    return f"{count}: about {duration(expected)} of training, as long as the finished ones took."
