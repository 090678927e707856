"""The figures of a finished run, for people."""

from typing import Any


def format_table(results: dict[str, Any], workdir: str) -> str:
    """The figures of results.json as a table of two columns, ready to print."""
    best = results["best"]
    rows: list[tuple[str, Any]] = [
        ("data set", results["dataset"]),
        ("loss", results["loss"]),
        ("epochs", results["epochs"]),
        ("final training loss", _number(results["final_train_loss"], ".4f")),
        ("steps skipped", results["skipped_steps"] or None),
        (
            "best checkpoint",
            best and f"kNN {best['validation_knn']:.4f} of held-out images, step {best['step']}",
        ),
        ("evaluated", results["checkpoint"] == "best" and f"the best checkpoint, step {results['step']}"),
        ("trained classifier, top-1", "test_top1" in results and f"{results['test_top1']:.4f}"),
        ("linear probe, top-1", f"{results['linear_probe']['top1']:.4f}"),
        ("kNN, top-1", f"{results['knn']['top1']:.4f}"),
        ("training", f"{results['train_seconds']:.1f} s"),
        ("rate", f"{_number(results['views_per_second'], ',.0f')} views/s"),
        ("devices", f"{results['devices']['count']} x {results['devices']['kind']}"),
        ("written to", workdir),
    ]
    rows = [
        (name, value) for name, value in rows if value not in (None, False)
    ]  # what this run does not have
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}   {value}" for name, value in rows]
    rule = "-" * max(len(line) for line in lines)
    return "\n".join([rule, *lines, rule])


def _number(value: float | None, form: str) -> str:
    """A figure, or a dash where a run was stopped before it had one."""
    return "-" if value is None else format(value, form)
