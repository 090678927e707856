"""Experiments: `common.py` lists every field, each other file is one experiment as a few overrides."""
