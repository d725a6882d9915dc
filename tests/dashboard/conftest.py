"""A real server on a folder of a test's own, and someone who asks it."""

import http.client
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.folders import made

# Without the extra dbrrl[dashboard] there is nothing to test here.
MISSING = [name for name in ("msgspec", "starlette", "uvicorn") if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []


@dataclass
class Client:
    """Asks a server, as a browser that has opened it, or as nobody."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and content of an answer; the path is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host="host" in given)
        for name, value in {**self.headers, "content-length": str(len(sent or b"")), **given}.items():
            connection.putheader(name, value)
        connection.endheaders(sent)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def json(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """The content of an answer that has to have this status."""
        code, headers, content = self.ask(method, path, body)
        assert code == status, content
        assert headers["content-type"] == "application/json"
        return json.loads(content)


class Site:
    """A server that runs in a thread."""

    def __init__(self, root: Path, **options: Any) -> None:
        from dbrrl.dashboard.server import Server

        self.server = Server(root, **options)
        self.server.config.ws = "none"
        self._thread = threading.Thread(target=self.server.run_here, daemon=True)
        self._thread.start()
        self.port = self.server.access.port

    def opened(self) -> Client:
        """Someone who has opened the address that was printed."""
        code, headers, _ = Client(self.port).ask("GET", self.server.address.partition(str(self.port))[2])
        assert code == 303
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        return Client(self.port, {"cookie": cookie.split(";")[0], "origin": f"http://127.0.0.1:{self.port}"})

    def close(self) -> None:
        """End it."""
        self.server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Start servers on the folder "runs" of the test; they end with it."""
    started: list[Site] = []

    def start(root: Path | None = None, **options: Any) -> Site:
        folder = root or tmp_path / "runs"
        folder.mkdir(exist_ok=True)
        started.append(Site(folder, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    from tests.dashboard.browsing import CHROMIUM, FLAGS

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the console of `page` complains of; a test that expects some takes them away."""
    found: list[str] = []
    yield found
    assert found == []


@pytest.fixture
def page(browser: Any, site: Callable[..., Site], complaints: list[str]) -> Iterator[Any]:
    """A page in whose console nothing may be complained of; it is closed before the servers of `site`."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    made_page = context.new_page()
    made_page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    made_page.on("pageerror", lambda error: complaints.append(str(error)))
    yield made_page
    context.close()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for seed in range(3):
        made(root / f"ppo-{seed}", seed=seed, means=[1.0 + seed, 5.0, 9.0 - seed], learning_rate=0.1 * (seed + 1))
    made(root / "dqn-0", agent="dqn", means=[0.5, 0.25], batch_size=32)
    broken = made(root / "broken", ended="failed", text="ValueError: <img src=x onerror=alert(1)>", learning_rate=0.3)
    rows = "evaluation,steps,return,length\n0,100,1,5\n2,300,9.5,40\n2,300,8.5,38\n"
    (broken / "evaluation_episodes.csv").write_text(rows)
    return root
