"""Benchmark suites: their data files, the runs that fill them, and the tables and reports that come out."""
