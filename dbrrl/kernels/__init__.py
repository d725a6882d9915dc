"""Replacements of ops, by kind of array."""
