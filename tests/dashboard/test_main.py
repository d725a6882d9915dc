"""The command that starts the dashboard."""

import http.client
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dbrrl.dashboard import __main__ as dashboard
from dbrrl.dashboard.server import Server
from dbrrl.errors import ConfigError, RunError


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["absent"], RunError, "there is no such folder"),
        ([".", "--host", "0.0.0.0"], ConfigError, "demands a password: give --password-file FILE, or the variable"),
        ([".", "--host", "example.invalid", "--password-file", "absent"], ConfigError, "absent: cannot be read"),
        ([".", "--password-file", "short"], ConfigError, "at least 8 characters, got 3"),
        ([".", "--port", "65536"], ConfigError, "at most 65535"),
        ([".", "--certificate", "a"], ConfigError, "expected both, got one"),
        ([".", "--certificate", "short", "--key", "absent"], ConfigError, "--key absent: cannot be used"),
        ([".", "--prot", "1"], ConfigError, "did you mean '--port'"),
    ],
)
def test_a_wrong_start_is_one_line(
    words: list[str], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(dashboard.PASSWORD, raising=False)
    (tmp_path / "short").write_text("abc\nlonger than the first line")
    with pytest.raises(error, match=message):
        dashboard.main(words)


def test_what_is_not_installed_is_named_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    with pytest.raises(ConfigError, match=r'needs uvicorn: pip install "dbrrl\[dashboard\]"'):
        dashboard.main([str(tmp_path)])


def test_a_password_comes_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dashboard.PASSWORD, "of the variable")
    assert dashboard._password({}) == "of the variable"
    (tmp_path / "file").write_text("of the file\n")
    assert dashboard._password({"password_file": str(tmp_path / "file")}) == "of the file"


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: cannot be listened at: .*: choose another --port"):
            Server(tmp_path, port=port)


def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dbrrl", "dashboard", str(tmp_path), "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)(/open\?token=\S+)", line)
        assert found, line
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
        connection.request("GET", found[2])
        assert connection.getresponse().status == 303
        connection.close()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 0 and process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
