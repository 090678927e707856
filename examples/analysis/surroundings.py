"""One anchor, the pairs around it, and one of them that is moved."""

from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["positive", "negative"]

# Where the pairs lie that stay, as similarities to the anchor: a batch that is learned in part. The hardest negatives
# are nearer than the hardest positives, so that both kinds have hard pairs.
POSITIVES = (0.4, 0.8)
NEGATIVES = (-0.3, 0.5)
_WIDTH = 16  # columns of the rows that have these similarities


class Pairs(NamedTuple):
    """Similarities of one anchor: positives [..., p], negatives [..., m], -1 to 1."""

    positives: np.ndarray
    negatives: np.ndarray


class Surroundings(NamedTuple):
    """How many pairs the anchor has, the moved one included: at least 1 of each kind.

    The others of a kind lie evenly in its range, POSITIVES or NEGATIVES.
    """

    num_positives: int
    num_negatives: int

    def pairs(self, kind: Kind, similarity: np.ndarray) -> Pairs:
        """All pairs of the anchor, float64, while one of a kind is moved; it is the last of its kind.

        Args:
          kind: of the moved pair.
          similarity: of the moved pair to the anchor, [...], -1 to 1.

        Example:
          >>> import numpy as np
          >>> pairs = Surroundings(2, 4).pairs("positive", np.array([-1.0, 0.0, 1.0]))
          >>> pairs.positives
          array([[ 0.6, -1. ],
                 [ 0.6,  0. ],
                 [ 0.6,  1. ]])
        """
        similarity = np.asarray(similarity, np.float64)[..., None]

        def around(count: int, span: tuple[float, float], moves: bool) -> np.ndarray:
            others = _spread(count - moves, span)
            others = np.broadcast_to(others, (*similarity.shape[:-1], len(others)))
            return np.concatenate([others, similarity], axis=-1) if moves else others

        return Pairs(
            around(self.num_positives, POSITIVES, kind == "positive"),
            around(self.num_negatives, NEGATIVES, kind == "negative"),
        )

    def hard(self, kind: Kind) -> tuple[float, float]:
        """Similarities at which the moved pair is hard, as `losses.diagnostics` has it.

        A positive that is farther than some negative; a negative that is nearer than some positive.
        """
        if kind == "positive":
            return -1.0, float(_spread(self.num_negatives, NEGATIVES).max())
        return float(_spread(self.num_positives, POSITIVES).min()), 1.0


def _spread(count: int, span: tuple[float, float]) -> np.ndarray:
    """The middles of `count` equal parts of a range."""
    low, high = span
    return low + (high - low) * (np.arange(count) + 0.5) / count if count else np.zeros(0)


def rows_of(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Rows with these similarities to row 0, and their classes.

    Row j is s_j z_0 + sqrt(1 - s_j^2) u_j, with a unit vector u_j at right angles to the anchor z_0, drawn at random
    and the same for all leading axes.

    Returns:
      rows: float64 [..., 1 + p + m, d] of unit length: the anchor, its positives, its negatives.
      labels: int32 [1 + p + m]: 0 for the anchor's class, 1 for all others, which does not matter to the anchor.
    """
    similarity = np.concatenate(pairs, axis=-1)[..., None]
    count = similarity.shape[-2]
    beside = np.random.default_rng(0).standard_normal((count, _WIDTH - 1))
    beside /= np.linalg.norm(beside, axis=1, keepdims=True)
    others = np.concatenate([similarity, np.sqrt(1.0 - similarity**2) * beside], axis=-1)
    anchor = np.broadcast_to(np.eye(_WIDTH)[:1], (*others.shape[:-2], 1, _WIDTH))
    labels = np.repeat(np.array([0, 1], np.int32), [1 + pairs.positives.shape[-1], pairs.negatives.shape[-1]])
    return np.concatenate([anchor, others], axis=-2), labels
