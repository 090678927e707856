"""The folder of one run: its settings, checkpoints, metrics, predictions, and the environment it ran in."""
