"""One experiment: from its config to its parts, its runs and their results."""
