"""Realistic slips, each applied to a copy of the code: does the default suite notice? `make mutants`; hours."""
