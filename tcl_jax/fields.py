"""Names as people read them: nested config fields, values, metrics."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict


def flat_items(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"a": {"b": 1}} -> ("a.b", 1)."""
    for name, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flat_items(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def metric_title(name: str) -> str:
    """The name of a metric of results.json for people.

    >>> metric_title("linear_probe"), metric_title("knn"), metric_title("recall_at_1")
    ('linear probe', 'kNN', 'recall@1')
    >>> metric_title("labels_1_per_class"), metric_title("labels_5_per_class"), metric_title("labels_1_percent")
    ('1 label per class', '5 labels per class', '1 % of labels')
    """
    titles = {
        "knn": "kNN",
        "classifier": "trained classifier",
        "r_precision": "R-precision",
        "map_at_r": "MAP@R",
        "outlier_auroc": "AUROC of outliers",
        "labels_1_per_class": "1 label per class",
    }
    if name in titles:
        return titles[name]
    for pattern, title in (
        (r"recall_at_(\d+)", r"recall@\1"),
        (r"labels_(\d+)_per_class", r"\1 labels per class"),
        (r"labels_(\d+)_percent", r"\1 % of labels"),
    ):
        name = re.sub(f"^{pattern}$", title, name)
    return name.replace("_", " ")


def is_retrieval(metric: str) -> bool:
    """Whether a metric of results.json is one of retrieval.

    >>> is_retrieval("recall_at_1"), is_retrieval("knn")
    (True, False)
    """
    return metric.startswith("recall_at_") or metric in ("r_precision", "map_at_r")


def brief(value: Any) -> str:
    """A setting in few characters, exact all the same.

    >>> brief(5000.0), brief(0.1), brief(("simaug", "none"))
    ('5000', '0.1', 'simaug+none')
    """
    if isinstance(value, tuple):
        return "+".join(map(brief, value))
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return "absent" if value is None else str(value)
