"""What tests of the pages share: the browser's flags, and small questions to a page."""

import importlib.util
import io
import shutil
import wave
from typing import Any

from tests.dashboard.conftest import Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = CHROMIUM is None or importlib.util.find_spec("playwright") is None
REASON = "the browser tests need Chromium and playwright"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def opened(page: Any, one: Site) -> Any:
    page.goto(one.server.address)
    return page


def wav(seconds: float) -> bytes:
    """Silence as a sound file."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * int(8000 * seconds)))
    return content.getvalue()


def unnamed(page: Any) -> list[str]:
    """The buttons, fields and links of a page that a screen reader has no name for."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('button, input, select, textarea, a')].filter(e => !e.labels?.length"
        " && !e.textContent.trim() && !e.getAttribute('aria-label')).map(e => e.outerHTML)"
    )
    return found


def names(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("tbody th[scope=row]").all_inner_texts()]
