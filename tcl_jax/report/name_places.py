"""Where the names of classes stand in a map, so that they hide neither their points nor each other."""

from collections.abc import Sequence

import numpy as np

# Of a map that is 2 wide and 2 high.
_LETTER, _LINE = 0.036, 0.066
_ABOVE = 0.064

HIGHEST = 1.08  # there is room for a name above the highest points


def name_places(
    points: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> dict[int, tuple[float, float]]:
    """The middle of each name: above most of the points of its class, moved down from names that are there already.

    Args:
      points: [m, 2], -1 to 1, y upward.
      labels: integer [m].
      class_names: of all classes; those that have no points have no place.

    Returns:
      (x, y) by the number of the class; x -1 to 1, y -1 to `HIGHEST`.
    """
    wanted = {}
    for label in np.unique(labels).tolist():
        x, y = points[labels == label].T
        half = min(len(class_names[label]) * _LETTER / 2, 0.9)
        wanted[label] = (
            float(np.clip(np.median(x), half - 1, 1 - half)),
            float(np.clip(np.quantile(y, 0.9) + _ABOVE, -0.97, HIGHEST)),
        )
    placed: dict[int, tuple[float, float]] = {}
    for label in sorted(wanted, key=lambda number: -wanted[number][1]):
        x, y = wanted[label]

        def hidden(y: float, x: float = x, label: int = label) -> bool:
            return any(
                abs(y - other_y) < _LINE
                and abs(x - other_x) < (len(class_names[label]) + len(class_names[other]) + 1) * _LETTER / 2
                for other, (other_x, other_y) in placed.items()
            )

        lower = next((y - n * _LINE / 4 for n in range(60) if not hidden(y - n * _LINE / 4)), y)
        placed[label] = (x, max(lower, -0.97))
    return placed
