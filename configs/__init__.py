"""Experiments, each as a few overrides of `tcl_jax.config.defaults()`, or of another experiment."""
