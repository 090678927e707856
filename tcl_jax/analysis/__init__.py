"""The claims about a loss, computed and drawn: `python -m tcl_jax.analysis`."""
