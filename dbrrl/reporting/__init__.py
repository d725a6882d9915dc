"""Curves, tables, statistics and progress of runs."""
