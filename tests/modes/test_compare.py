"""Runs compared, from folders as runs leave them."""

import shlex

import pytest

from configs import digits_tcl
from tcl_jax.errors import UserError
from tcl_jax.modes import compare
from tcl_jax.run.workdir import Workdir
from tests.report.pages import Page


def make_run(path, *, evaluated=True, probe=0.9, **fields):
    config = digits_tcl.get_config()
    config.update_from_flattened_dict(fields)
    workdir = Workdir(str(path))
    workdir.claim("digits_tcl", config)
    workdir.metrics.write_text(
        '{"step": 5, "epoch": 0, "loss": 4.5}\n{"step": 10, "epoch": 1, "loss": 4.0}\n{"st'
    )
    if evaluated:
        results = {
            "config_name": "digits_tcl",
            "dataset": "digits",
            "metrics": {"linear_probe": probe, "knn": 0.8},
            "final_train_loss": 4.0,
            "params_sha256": "0" * 64,
        }
        workdir.write_results(results, "latest")
    return str(path)


def test_runs_and_folders_of_runs_are_compared_by_what_differs(tmp_path, capsys):
    for seed in (0, 1):
        make_run(tmp_path / "many" / f"tcl {seed}", seed=seed, probe=0.8 + 0.1 * seed)
    (tmp_path / "many" / "no run").mkdir()
    alone = make_run(tmp_path / "supcon", probe=0.7, **{"loss.name": "supcon"})
    out = Workdir(str(tmp_path / "out"))
    compare.run([str(tmp_path / "many"), alone, alone], out)  # named twice, it counts once
    shown = capsys.readouterr().out
    assert "| loss.name=tcl | 0, 1 | 0.8500 ± 0.0707 |" in shown
    assert "| loss.name=supcon | 0 | 0.7000 |" in shown
    assert str(out.path / "report" / "index.html") in shown
    names = {path.name for path in (out.path / "report").iterdir()}
    assert names == {"index.html", "comparison.csv", "comparison.md"}
    assert (out.path / "report" / "comparison.md").read_text() in shown


def test_a_run_without_results_is_named_and_the_others_are_compared(tmp_path, capsys):
    done = make_run(tmp_path / "done")
    stopped = make_run(tmp_path / "stopped", evaluated=False)
    compare.run([done, stopped], Workdir(str(tmp_path / "out")))
    assert f"{stopped}: it was not evaluated yet" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"None of the runs in .*stopped was evaluated yet: train them"):
        compare.run([stopped], Workdir(str(tmp_path / "other")))
    assert not (tmp_path / "other").exists()


def test_mistakes_are_reported_in_one_sentence(tmp_path):
    out = Workdir(str(tmp_path / "out"))
    with pytest.raises(UserError, match="No runs are given to compare"):
        compare.run([], out)
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        with pytest.raises(
            UserError, match=f"--workdirs names {tmp_path / name}, which is not a run and holds none"
        ):
            compare.run([str(tmp_path / name)], out)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*: give another with --workdir"):
        compare.run([make_run(tmp_path / "run")], Workdir(str(tmp_path / "file" / "out")))


@pytest.mark.parametrize("program", ["python main.py", "tcl-jax", "python '../my code/main.py'"])
def test_the_command_on_the_page_can_be_pasted(tmp_path, program):
    path = make_run(tmp_path / "a run; echo 'x'")
    compare.run([path], Workdir(str(tmp_path / "out")), program=program)
    page = Page((tmp_path / "out" / "report" / "index.html").read_text())
    command = page.text[page.text.index(program) :].strip()
    assert shlex.split(command) == [*shlex.split(program), "--mode=compare", f"--workdirs={path}"]
