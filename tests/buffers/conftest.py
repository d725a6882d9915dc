"""Where the observations of a buffer lie in a test: on the host, then as a GPU would have them (a strict stand-in)."""

from typing import Any

import pytest

from tests import standin

PLACES: dict[str, dict[str, Any]] = {
    "host": {},
    "pinned": {"device": "cuda", "pinned": True},
    "device": {"device": "cuda"},
}


@pytest.fixture(params=["host", pytest.param("pinned", marks=pytest.mark.slow), "device"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of a buffer."""
    if request.param != "host":
        standin.install(monkeypatch)
    return PLACES[request.param]
