"""Who may do what: a token or a password, one origin, and bounds on sizes and on rates."""

import hmac
import re
import secrets
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_BODY = 1_000_000  # bytes of a request
ATTEMPTS, PERIOD = 10, 60.0  # wrong passwords, in seconds, after which no more are tried
SESSIONS = 1_000  # that are remembered
RATE, BURST = 1_000.0, 3_000.0  # requests of one session: in a second on average, and at once
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


@dataclass
class Refusal(Exception):
    """A request is refused, with this status and these words."""

    status: int
    text: str


@dataclass
class Access:
    """Decides about requests.

    A browser has a cookie, which it got for the token in the address, or for the password; other programs send the
    token as `Authorization: Bearer TOKEN`. What changes something must come from a page of this server: its Origin is
    the host that was asked.

    Attributes:
        token: the secret in the address.
        port: the port, which the cookie's name has, as cookies of one host are shared by all ports.
        hosts: names under which the server may be asked; empty: any, where a password is demanded.
        password: what is asked for in place of the token; None: nothing.
        read_only: whether everything that changes something is refused.
    """

    port: int
    hosts: frozenset[str]
    password: str | None = None
    read_only: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    _sessions: deque[str] = field(default_factory=lambda: deque(maxlen=SESSIONS))
    _attempts: deque[float] = field(default_factory=lambda: deque(maxlen=ATTEMPTS))
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)  # of each session: requests, and since when

    @property
    def cookie(self) -> str:
        """The cookie's name."""
        return f"dbrrl-{self.port}"

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Refuse a request for another name than the server's: a page of another site may have renamed itself."""
        given = headers.get("host", "")
        found = _HOST.fullmatch(given)
        if found is None or (self.hosts and found[1].strip("[]").lower() not in self.hosts):
            raise Refusal(403, f"this server is not called {given[:80]!r}")

    def check_known(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> None:
        """Refuse a request of someone who has shown neither the token nor the password, or who asks too often."""
        session = cookies.get(self.cookie, "")
        if self._bears_token(headers):
            session = self.token
        elif not any(_same(session, one) for one in self._sessions):
            raise Refusal(401, "open the address that the dashboard printed when it started, with its token")
        self._check_rate(session, time.monotonic())

    def _check_rate(self, session: str, now: float) -> None:
        """Refuse a request of a session that has sent `BURST` of them more than it may in this time."""
        left, since = self._left.get(session, (BURST, now))
        left = min(BURST, left + RATE * (now - since))
        if left < 1:
            raise Refusal(429, f"more than {RATE:,.0f} requests in a second: wait a little")
        self._left[session] = left - 1, now

    def check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse a change that a page of another site has sent with this browser's cookie."""
        if method in ("GET", "HEAD"):
            return
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is None and self._bears_token(headers):
            return  # no browser
        if origin not in (f"http://{host}", f"https://{host}") or not host:
            raise Refusal(403, "the request comes from another page than this server's")

    def _bears_token(self, headers: Mapping[str, str]) -> bool:
        bearer = headers.get("authorization", "")
        return bearer.startswith("Bearer ") and _same(bearer[7:], self.token)

    def check_change(self) -> None:
        """Refuse what changes something where that is switched off."""
        if self.read_only:
            raise Refusal(403, "this dashboard is read-only: start it without --read-only")

    def open_with_token(self, token: str) -> str:
        """Return a new session for the token; refuse another word."""
        if self.password is not None or not _same(token, self.token):
            raise Refusal(401, "not the token of this dashboard: it has a new one after each start")
        return self._open()

    def open_with_password(self, password: str) -> str:
        """Return a new session for the password; refuse another word, and all for a while after many wrong ones."""
        now = time.monotonic()
        if len(self._attempts) == ATTEMPTS and now - self._attempts[0] < PERIOD:
            raise Refusal(429, "too many wrong passwords: wait a minute")
        if self.password is None or not _same(password, self.password):
            self._attempts.append(now)
            raise Refusal(401, "not the password")
        return self._open()

    def _open(self) -> str:
        session = secrets.token_urlsafe(24)
        if len(self._sessions) == SESSIONS:
            self._left.pop(self._sessions[0], None)
        self._sessions.append(session)
        return session


def _same(given: str, known: str) -> bool:
    """Return whether two secrets are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), known.encode())
