"""Records retrieval_pml.npz: what pytorch-metric-learning makes of small seeded features, for retrieval.

    python3.11 -m venv public && public/bin/pip install torch==2.14.1 pytorch-metric-learning==2.9.0 faiss-cpu==1.15.1
    public/bin/python tests/golden/record_retrieval.py

The file holds NAME/features, NAME/labels and NAME/METRIC of each case, and `source`. AccuracyCalculator measures
distances, whose order is that of cosines once rows have the length 1. It has no recall@k but precision_at_1, which is
recall@1.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np

METRICS = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
RNG = np.random.default_rng(18)
CASES = {
    "balanced": np.tile(np.arange(5), 8),
    "long_tailed": np.repeat(np.arange(7), [24, 10, 5, 3, 2, 1, 1]),
    "one_large_class": np.repeat([3, 9], [38, 2]),
    "pairs": np.arange(40) // 2,
}


def main() -> None:
    """Write the file."""
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    recorded = {}
    for name, labels in CASES.items():
        labels = RNG.permutation(labels)
        centres = RNG.normal(size=(labels.max() + 1, 6))
        features = (centres[labels] + 1.2 * RNG.normal(size=(len(labels), 6))).astype(np.float32)
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        found = AccuracyCalculator(include=METRICS, k="max_bin_count").get_accuracy(unit, labels)
        recorded |= {
            f"{name}/{key}": value
            for key, value in (("features", features), ("labels", labels), *found.items())
        }
    source = (
        f"pytorch-metric-learning {version('pytorch-metric-learning')}: AccuracyCalculator, k='max_bin_count'"
    )
    np.savez_compressed(Path(__file__).parent / "retrieval_pml.npz", source=source, **recorded)


if __name__ == "__main__":
    main()
