"""The claims about a loss, computed and drawn: `python -m examples.analysis`."""
