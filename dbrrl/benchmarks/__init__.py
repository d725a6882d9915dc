"""Benchmark suites: their definitions, the runs, and the tables and reports made from these."""
