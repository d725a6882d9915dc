"""TOML text, read back by the standard library."""

import tomllib

from dbrrl.reporting.toml import dumps


def test_what_is_written_is_what_is_read() -> None:
    table = {
        "number": 3e-4,
        "whole": 10**15,
        "tiny": 1e-320,
        "yes": True,
        "text": 'é "quoted" \\ back\nline\ttab \U0001f600 \x7f \x01',
        "list": [1, 2],
        "empty": [],
        "odd key/1": 1,
        "inner": {"deep": {"x": 1.0}, "a.b": "c", "before": 2},
        "none": {},
    }
    assert tomllib.loads(dumps(table)) == table
    assert tomllib.loads(dumps({"a": None, "b": (1, 2), "n": float("-inf")})) == {
        "a": "none",
        "b": [1, 2],
        "n": float("-inf"),
    }
