"""Nested fields by their full names."""

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
