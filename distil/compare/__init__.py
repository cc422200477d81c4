"""Comparison of runs: records, methods, tests of the differences, a table and a page."""
