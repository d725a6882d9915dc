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
