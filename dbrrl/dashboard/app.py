"""The HTTP application: pages, the API, and the stream of what is new."""

import asyncio
import contextlib
import functools
import importlib.resources
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dbrrl.errors import DbrrlError
from dbrrl.experiment import record

from . import messages as m
from . import openapi
from .access import MOST_BODY, Access, Refusal
from .endpoints import ENDPOINTS, Endpoint
from .service import Service

POLL = 0.5  # seconds between two questions whether the folder is to be looked at
STREAMS = 200  # open at once
_STATIC = {
    ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain",
}  # fmt: skip
_PAGES = ("/", "/charts", "/run/{run}", "/inspect/{run}")
_OPEN_TO_ALL = ("/open", "/login", "/static/style.css", "/static/login.js", "/static/again.js")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

Answer = Callable[[Request], Awaitable[Response]]


class Guard:
    """Refuses what `Access` does, before anything else is looked at, and adds the headers that bind the browser."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            self.access.check_host(request.headers)
            if scope["path"] not in _OPEN_TO_ALL:  # which the routes go by; request.url is made of the Host, too
                self.access.check_known(request.headers, request.cookies)
            self.access.check_origin(request.method, request.headers)
        except Refusal as refusal:
            known = refusal.status == 401 and _is_page(request)
            answer = _login(self.access) if known else _error(refusal.status, refusal.text)
            await answer(scope, receive, _with_headers(send))
            return
        await self.app(scope, receive, _with_headers(send))


class Live:
    """Looks at the folder while anyone listens, and tells all listeners at once what version there is."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.listeners: set[asyncio.Event] = set()
        self.ended = False

    def end(self) -> None:
        """Let all listeners go; to be called where the server runs."""
        self.ended = True
        for listener in self.listeners:
            listener.set()

    async def watch(self) -> None:
        """Look again and again, until the server ends."""
        told = 0
        while not self.ended:
            if self.listeners:
                await run_in_threadpool(self.service.look)
            if told != self.service.index.version:
                told = self.service.index.version
                for listener in self.listeners:
                    listener.set()
            await asyncio.sleep(POLL)

    async def events(self) -> AsyncIterator[bytes]:
        """Yield an event for each new version, and a comment now and then, by which a lost connection is found."""
        news = asyncio.Event()
        self.listeners.add(news)
        try:
            while not self.ended:
                news.clear()
                yield f"event: version\ndata: {self.service.index.version}\n\n".encode()
                while not news.is_set() and not self.ended:
                    try:
                        await asyncio.wait_for(news.wait(), 5.0)
                    except TimeoutError:
                        yield b": still here\n\n"
        finally:
            self.listeners.discard(news)


def application(service: Service, access: Access, live: Live) -> ASGIApp:
    """Return the application."""
    described = msgspec.json.encode(openapi.description(record.versions()["dbrrl"]))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(service.refresh)
        task = asyncio.create_task(live.watch())
        try:
            yield
        finally:
            task.cancel()
            service.close()

    async def stream(request: Request) -> Response:
        if len(live.listeners) >= STREAMS:
            return _error(503, "too many pages listen at once")
        return StreamingResponse(live.events(), media_type="text/event-stream")

    async def open_with_token(request: Request) -> Response:
        token = request.query_params.get("token", "")
        return _entered(access, request, lambda: access.open_with_token(token))

    async def log_in(request: Request) -> Response:
        if request.method == "GET":
            return _login(access)
        form = await _body(request)
        given = form.decode("utf-8", "replace")
        return _entered(access, request, lambda: access.open_with_password(given))

    async def spec(request: Request) -> Response:
        return Response(described, media_type="application/json")

    routes = [
        Route("/open", open_with_token),
        Route("/login", log_in, methods=["GET", "POST"]),
        Route("/api/live", stream),
        Route("/api/openapi.json", spec),
        Route("/static/{name}", _static),
        *(Route(path, _page) for path in _PAGES),
        *_routes(service, access),
    ]
    starlette = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: _missing, 405: _not_used})
    starlette.router.redirect_slashes = False
    return Guard(starlette, access)


def _routes(service: Service, access: Access) -> list[Route]:
    return [Route(one.path, _answer(one, service, access), methods=[one.method]) for one in ENDPOINTS]


def _answer(one: Endpoint, service: Service, access: Access) -> Answer:
    """Return what answers requests for an endpoint: it checks what came, calls the service, and writes its answer."""

    async def answer(request: Request) -> Response:
        try:
            if one.changes:
                access.check_change()
            arguments: list[Any] = list(request.path_params.values())
            if one.query is not None:
                arguments.append(msgspec.convert(dict(request.query_params), one.query, strict=False))
            if one.body is not None:
                arguments.append(msgspec.convert(_whole(msgspec.json.decode(await _body(request))), one.body))
            result = await run_in_threadpool(functools.partial(one.call, service, *arguments))
        except Refusal as refusal:
            return _error(refusal.status, refusal.text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            return _error(400, str(error))
        except DbrrlError as error:
            return _error(503, str(error))
        if isinstance(one.gives, tuple):
            kind, content = result
            return Response(content, media_type=kind, headers={"content-disposition": _saved_as(kind)})
        return _json(result)

    return answer


def _json(result: Any) -> Response:
    try:
        return Response(msgspec.json.encode(result), media_type="application/json")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return _error(503, f"the answer cannot be written: {error}")


async def _body(request: Request) -> bytes:
    """Return the body of a request; Refusal if it is too large or breaks off."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MOST_BODY:
                raise Refusal(413, f"the request has more than {MOST_BODY:,} bytes")
            parts.append(part)
    except ClientDisconnect:
        raise Refusal(400, "the request broke off") from None
    return b"".join(parts)


def _whole(value: Any) -> Any:
    """Return decoded JSON in which numbers such as 2.0 are whole ones, as they are in JSON's own schemas."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(entry) for entry in value]
    return {name: _whole(entry) for name, entry in value.items()} if isinstance(value, dict) else value


def _saved_as(kind: str) -> str:
    return "inline" if kind in ("image/png", "image/gif", "video/mp4") else "attachment"


def _entered(access: Access, request: Request, open_session: Callable[[], str]) -> Response:
    try:
        session = open_session()
    except Refusal as refusal:
        return _login(access) if _is_page(request) else _error(refusal.status, refusal.text)
    answer = RedirectResponse("/", status_code=303)
    answer.set_cookie(access.cookie, session, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


def _login(access: Access) -> Response:
    return Response(_read("login.html" if access.password is not None else "token.html"), 401, media_type="text/html")


async def _page(request: Request) -> Response:
    return Response(_read("index.html"), media_type="text/html")


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    found = _files().get(name)
    return _error(404, "there is no such file") if found is None else Response(found[1], media_type=found[0])


@functools.cache
def _files() -> dict[str, tuple[str, bytes]]:
    """Return the static files by name: their media types and contents."""
    found = {}
    for file in (importlib.resources.files(__package__) / "static").iterdir():
        kind = _STATIC.get(f".{file.name.rpartition('.')[2]}")
        if kind is not None:
            found[file.name] = kind, file.read_bytes()
    return found


def _read(name: str) -> bytes:
    return _files()[name][1]


def _is_page(request: Request) -> bool:
    """Return whether a browser asks for a page, to show it."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


async def _missing(request: Request, error: Exception) -> Response:
    if _is_page(request):
        return Response(_read("missing.html"), 404, media_type="text/html")
    return _error(404, "there is no such address")


async def _not_used(request: Request, error: Exception) -> Response:
    answer = _error(405, "this address is not used this way")
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer


def _error(status: int, text: str) -> Response:
    return Response(msgspec.json.encode(m.Error(text)), status, media_type="application/json")


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Any) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            added = [(name.encode(), text.encode()) for name, text in _HEADERS.items() if name.encode() not in given]
            message = message | {"headers": [*message["headers"], *added]}
        await send(message)

    return wrapped
