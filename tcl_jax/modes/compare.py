"""Compare runs that were evaluated: a page, a table and a CSV file."""

import shlex
from collections.abc import Mapping, Sequence

from tcl_jax.errors import UserError
from tcl_jax.fields import flat_items
from tcl_jax.files import write_whole_bytes
from tcl_jax.report.comparison import ComparedRun, group_runs, to_markdown
from tcl_jax.run.metrics_log import read_metrics
from tcl_jax.run.workdir import Workdir


def run(paths: Sequence[str], workdir: Workdir, *, program: str = "python main.py") -> None:
    """Write report/ with index.html, comparison.csv, comparison.md and pictures into `workdir`, and print the table.

    Args:
      paths: folders of runs, or of several runs each.
      program: how the command was started, for the page.

    Raises:
      UserError: no folder is given, or one holds no run that was evaluated.
    """
    if not paths:
        raise UserError(
            "No runs are given to compare: name their folders, as in --workdirs=runs/tcl,runs/supcon."
        )
    folders = [folder for path in paths for folder in _runs_in(path)]
    runs, missing = [], {}
    for folder in dict.fromkeys(folders):
        found = read_run(Workdir(folder))
        if found is None:
            missing[folder] = "it was not evaluated yet"
        else:
            runs.append(found)
    if not runs:
        raise UserError(
            f"None of the runs in {', '.join(paths)} was evaluated yet: train them to their end first."
        )
    flags = ["--mode=compare", f"--workdirs={','.join(paths)}"]
    write_comparison(
        workdir, "Comparison of runs", runs, failures=missing, again=f"{program} {shlex.join(flags)}"
    )


def write_comparison(
    workdir: Workdir, title: str, runs: Sequence[ComparedRun], *, failures: Mapping[str, str], again: str
) -> None:
    """Write the comparison of some runs into `workdir`, and print its table.

    Args:
      failures: why further runs have no results, by name.
      again: the command that makes the comparison again.

    Raises:
      UserError: the folder cannot be written.
      WriteFailed: the disk is full.
    """
    # Imported here: matplotlib takes a second, which nobody else needs to wait for.
    from tcl_jax.report.comparison_page import comparison_files

    groups = group_runs(runs)
    report = workdir.path / "report"
    files = comparison_files(title, groups, failures=failures, again=again)
    with workdir.writable():
        report.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_whole_bytes(report / name, content)
    if groups:
        print(to_markdown(groups), end="")
    for name, reason in failures.items():
        print(f"{name}: {reason}")
    print(f"The comparison is in {report / 'index.html'}")


def read_run(workdir: Workdir) -> ComparedRun | None:
    """What the run in a folder left; None where it was not evaluated yet.

    Raises:
      UserError: a folder without runs.
    """
    _, config = workdir.read_config()
    results = workdir.read_results()
    if results is None:
        return None
    return ComparedRun(str(workdir.path), dict(flat_items(config)), results, read_metrics(workdir.metrics))


def _runs_in(path: str) -> list[str]:
    """The folder itself if it is a run, else the runs in it, by name.

    Raises:
      UserError: neither is there.
    """
    workdir = Workdir(path)
    if workdir.config.exists():
        return [str(workdir.path)]
    inside = [] if not workdir.path.is_dir() else sorted(workdir.path.iterdir())
    found = [str(folder) for folder in inside if Workdir(str(folder)).config.exists()]
    if not found:
        raise UserError(
            f"--workdirs names {workdir.path}, which is not a run and holds none: "
            "name the folders of runs, as in --workdirs=runs/tcl,runs/supcon."
        )
    return found
