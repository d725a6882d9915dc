"""Starts the dashboard's server, tells its address, and ends with Ctrl-C."""

import contextlib
import socket
import ssl
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from dbrrl.errors import ConfigError

from .access import LOOPBACK, Access
from .app import Live, application
from .service import Service

CONNECTIONS = 500  # at once


class Server(uvicorn.Server):
    """A server that is told where it listens before it begins."""

    def __init__(
        self,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        password: str | None = None,
        read_only: bool = False,
        trust: bool = False,
        certificate: str | None = None,
        key: str | None = None,
    ) -> None:
        _check_certificate(certificate, key)
        self.socket = _listening(host, port)
        port = self.socket.getsockname()[1]
        hosts = frozenset(LOOPBACK) if host in LOOPBACK else frozenset()
        self.access = Access(port, hosts, password, read_only)
        self.service = Service(root, read_only=read_only, trust=trust)
        self.live = Live(self.service)
        shown = f"[{host}]" if ":" in host else host
        self.site = f"{'https' if certificate else 'http'}://{shown}:{port}"
        super().__init__(
            uvicorn.Config(
                application(self.service, self.access, self.live),
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=1,
                ssl_certfile=certificate,
                ssl_keyfile=key,
            )
        )

    @property
    def address(self) -> str:
        """The address to open: with the token, or of the page that asks for the password."""
        return f"{self.site}/open?token={self.access.token}" if self.access.password is None else f"{self.site}/login"

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, the streams first, as they would never end by themselves."""
        self.live.end()
        await super().shutdown(sockets)

    def run_here(self) -> None:
        """Serve until it is told to exit."""
        with contextlib.closing(self.socket), _quiet_interrupts():
            self.run(sockets=[self.socket])


def serve(
    root: Path,
    *,
    host: str,
    port: int,
    password: str | None,
    read_only: bool,
    trust: bool,
    browser: bool,
    certificate: str | None,
    key: str | None,
) -> None:
    """Serve the runs below `root` until Ctrl-C; the arguments are those of the command."""
    server = Server(
        root,
        host=host,
        port=port,
        password=password,
        read_only=read_only,
        trust=trust,
        certificate=certificate,
        key=key,
    )
    print(f"dashboard of {root}: {server.address}", flush=True)
    print("Ctrl-C ends it; runs go on without it.", flush=True)
    if browser:
        webbrowser.open(server.address)
    server.run_here()


def _check_certificate(certificate: str | None, key: str | None) -> None:
    """Raise ConfigError if the files are no certificate and its key."""
    if certificate is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"--certificate {certificate}, --key {key}: cannot be used: {error}") from error


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; ConfigError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        cure = "choose another --port, or 0 for any" if port else "choose another --host"
        raise ConfigError(f"{host}:{port}: cannot be listened at: {error.strerror or error}: {cure}") from error
    return listening


@contextlib.contextmanager
def _quiet_interrupts() -> Iterator[None]:
    """Inside the context, the Ctrl-C that ended the server is no error."""
    with contextlib.suppress(KeyboardInterrupt):
        yield
