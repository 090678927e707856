"""A trained encoder in use, read from a run or from an exported file."""
