"""One loop, its objective, one run folder; finished runs as tables."""
