"""What a person reads: the page of a run, the comparison of runs, tables."""
