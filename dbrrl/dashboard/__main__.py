"""`python -m dbrrl.dashboard FOLDER` shows all runs below a folder in a browser."""

import argparse
import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbrrl.dashboard.access import LOOPBACK
from dbrrl.errors import ConfigError, RunError
from dbrrl.experiment import command

_NEEDED = ("starlette", "uvicorn", "msgspec")
_DESCRIPTION = """Show all runs below FOLDER in a browser: their scores and charts, live, and all that is known of each.

The address that is printed has a token: whoever knows it sees the runs, and may change what the pages change. It is
reached from this machine alone, unless --host names another address; then a password is demanded."""
PASSWORD = "DBRRL_DASHBOARD_PASSWORD"


def main(arguments: Sequence[str]) -> None:
    """Serve until Ctrl-C."""
    given = _parse(arguments)
    root = Path(given["folder"])
    if not root.is_dir():
        raise RunError(f"{root}: there is no such folder: give the one that --out of your runs names")
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f'the dashboard needs {", ".join(missing)}: pip install "dbrrl[dashboard]"')
    password = _password(given)
    if given["host"] not in LOOPBACK and password is None:
        raise ConfigError(
            f"--host {given['host']}: others can reach it there, so it demands a password: give --password-file FILE, "
            f"or the variable {PASSWORD}"
        )
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures of episodes need no screen
    server: Any = importlib.import_module("dbrrl.dashboard.server")
    server.serve(
        root.resolve(),
        host=given["host"],
        port=given["port"],
        password=password,
        read_only=given["read_only"],
        trust=given["trust"],
        browser=given["browser"],
        certificate=given.get("certificate"),
        key=given.get("key"),
    )


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    parser = command.Parser(prog="python -m dbrrl.dashboard", description=_DESCRIPTION)
    add = parser.add_argument
    add("folder", metavar="FOLDER", nargs="?", default="runs", help="the folder of the runs [default: runs]")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen at [default 127.0.0.1]")
    add("--port", type=_port, default=8765, metavar="N", help="port to listen at; 0: any [default 8765]")
    add("--password-file", default=argparse.SUPPRESS, metavar="FILE", help="a file whose first line is the password")
    add("--certificate", default=argparse.SUPPRESS, metavar="FILE", help="a certificate, for HTTPS")
    add("--key", default=argparse.SUPPRESS, metavar="FILE", help="the certificate's key")
    add("--read-only", action="store_true", help="show only: nothing is marked, deleted or steered")
    add("--trust", action="store_true", help="allow the import of agents and environments that runs name")
    add("--no-browser", dest="browser", action="store_false", help="open no browser")
    add("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    given = parser.parse_all(arguments)
    if ("certificate" in given) != ("key" in given):
        raise ConfigError("--certificate and --key: expected both, got one: give the other file too")
    return given


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a whole number of at most 65535, got {text!r}")
    return int(text)


def _password(given: dict[str, Any]) -> str | None:
    """Return the password of the file, or of the variable; ConfigError if it is too short to be one."""
    where = given.get("password_file", PASSWORD)
    if "password_file" in given:
        try:
            text = Path(where).read_text(encoding="utf-8").split("\n", 1)[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--password-file {where}: cannot be read: {error}") from None
    elif PASSWORD in os.environ:
        text = os.environ[PASSWORD]
    else:
        return None
    if len(text) < 8:
        raise ConfigError(f"{where}: expected a password of at least 8 characters, got {len(text)}: choose another")
    return text


if __name__ == "__main__":
    command.run_process(main)
