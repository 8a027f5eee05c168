"""Searching a space of runs: declared beside studies, carried out by the same plans, workers and workspace."""
