"""Studies that use the package and are not part of it; run from a checkout."""
