"""Who may ask, and for what: middlewares between the socket and Gradio. docs/SECURITY.md says what each is for."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detdiffusion import bounds

TOKEN_HEADER = "x-studio-token"
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
PORTS = {"http": 80, "https": 443}
ADDRESSES = 1024  # whose wrong passwords are remembered

# What the page and programs use of Gradio's routes; whatever else Gradio serves is not there.
READ = (
    "/config",
    "/theme.css",
    "/static/",
    "/assets/",
    "/svelte/",
    "/favicon.ico",
    "/robots.txt",
    "/manifest.json",
    "/pwa_icon",
    "/logout",
    "/gradio_api/info",
    "/gradio_api/openapi.json",
    "/gradio_api/login_check",
    "/gradio_api/app_id",
    "/gradio_api/user",
    "/gradio_api/startup-events",
    "/gradio_api/heartbeat/",
    "/gradio_api/queue/data",
    "/gradio_api/queue/status",
    "/gradio_api/call/",
    "/gradio_api/file=",
    "/gradio_api/upload_progress",
    "/gradio_api/custom_component/",
    "/gradio_api/mcp",
)
WITHOUT_LOGIN = (*READ[1:9], "/gradio_api/login_check")  # what the login page is made of
CALLS = ("/gradio_api/queue/join", "/gradio_api/run/", "/gradio_api/api/", "/gradio_api/call/")
WRITTEN = (*CALLS, "/login", "/gradio_api/upload", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/mcp")
HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "frame-ancestors 'self'; object-src 'none'; base-uri 'self'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


class Refusal(Exception):
    """What a request is answered with instead."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Guard:
    """Asks `check` before a request goes on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        try:
            if scope["type"] != "http":
                raise Refusal(403, "only HTTP is spoken here")
            receive = await self.check(Request(scope, receive))
        except Refusal as refusal:
            await JSONResponse({"detail": str(refusal)}, refusal.status)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def check(self, request: Request) -> Receive:
        """From where the rest reads the body. Raises Refusal."""
        raise NotImplementedError


class SameOrigin(_Guard):
    """Refuses what other sites' pages send, by Origin and by Fetch Metadata, and lets nobody frame the studio.

    names: hosts that are the studio, too, behind a proxy that does not pass the Host on.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        super().__init__(app)
        self.names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await super().__call__(scope, receive, with_headers)

    async def check(self, request: Request) -> Receive:
        """Programs send neither header; browsers send them, and pages cannot change them."""
        headers = request.headers
        origin = headers.get("origin")
        if origin is not None and not self._ours(origin, headers.get("host", "")):
            raise Refusal(403, f"pages of {origin[:100]} may not use the studio (docs/SECURITY.md)")
        navigates = request.method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not navigates and origin is None:
            raise Refusal(403, "pages of other sites may not use the studio (docs/SECURITY.md)")
        return request.receive

    def _ours(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
            here = urlsplit(f"{parts.scheme}://{host}")
            port = PORTS.get(parts.scheme)
            same = (parts.hostname, parts.port or port) == (here.hostname, here.port or port)
        except ValueError:
            return False
        return parts.scheme in PORTS and parts.hostname is not None and (same or parts.hostname in self.names)


class KnownRoutes(_Guard):
    """Only what the page and programs use is there, and a body comes in within `bounds.BODY_SECONDS`."""

    async def check(self, request: Request) -> Receive:
        """By method and path."""
        path, reads = request.url.path, request.method in ("GET", "HEAD")
        known = path == "/" or path.startswith(READ) if reads else path.startswith(WRITTEN)
        if not known or request.method not in ("GET", "HEAD", "POST", "DELETE"):
            raise Refusal(404, "there is no such address")
        return request.receive if reads else _timed(request.receive)


def _timed(receive: Receive) -> Receive:
    """The body within the time; afterwards (has the client left?) it waits as ever."""
    loop = asyncio.get_running_loop()
    end, whole = loop.time() + bounds.BODY_SECONDS, False

    async def timed() -> Message:
        nonlocal whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        whole = not message.get("more_body", False)
        return message

    return timed


class LoggedIn(_Guard):
    """Without a login nothing answers but the login. logged_in: whether a request's cookies are those of one."""

    def __init__(self, app: ASGIApp, logged_in: Callable[[Mapping[str, str]], bool]) -> None:
        super().__init__(app)
        self.logged_in = logged_in

    async def check(self, request: Request) -> Receive:
        """By the cookie that Gradio's login sets."""
        path = request.url.path
        free = path == "/" or path.startswith(WITHOUT_LOGIN) if request.method in ("GET", "HEAD") else path == "/login"
        if not free and not self.logged_in(request.cookies):
            raise Refusal(401, "log in first")
        return request.receive


class SlowLogins:
    """Answers wrong passwords of one address slowly, and one at a time; the first few at once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith("/login"):
            await self.app(scope, receive, send)
            return
        tries = self._of(scope)
        if tries.waiting >= bounds.LOGIN_WAITING:
            await JSONResponse({"detail": "too many logins at once: wait a minute"}, 429)(scope, receive, send)
            return
        tries.waiting += 1
        try:
            async with tries.turn:
                await self.app(scope, receive, tries.slowed(send))
        finally:
            tries.waiting -= 1

    def _of(self, scope: Scope) -> _Tries:
        place = _network(scope["client"][0] if scope.get("client") else "")
        tries = self._tries.setdefault(place, _Tries(asyncio.Lock()))
        self._tries.move_to_end(place)
        while len(self._tries) > ADDRESSES:
            self._tries.popitem(last=False)
        return tries


@dataclass(slots=True, eq=False)
class _Tries:
    """Of one address. wrong: passwords since the last right one."""

    turn: asyncio.Lock
    waiting: int = 0
    wrong: int = 0

    def slowed(self, send: Send) -> Send:
        async def slow(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.wrong = self.wrong + 1 if message["status"] >= 400 else 0
                if self.wrong > bounds.LOGIN_TRIES:
                    await asyncio.sleep(min(bounds.LOGIN_SECONDS, 2.0 ** (self.wrong - bounds.LOGIN_TRIES - 2)))
            await send(message)

        return slow


def _network(address: str) -> str:
    """An address of IPv6 by the network that one house or one machine has."""
    try:
        return str(ip_network(f"{address}/64", strict=False)) if ip_address(address).version == 6 else address
    except ValueError:
        return address


@dataclass(frozen=True, slots=True)
class Public:
    """What programs may call without the page's token. numbers: Gradio's of the functions; names: of the endpoints."""

    numbers: frozenset[int]
    names: frozenset[str]

    def calls(self, path: str, body: bytes) -> bool:
        """Whether a call is of one of them, and of nothing else."""
        name = "" if path.startswith(CALLS[0]) else path.rstrip("/").rpartition("/")[2]
        try:
            values = json.loads(body)
        except (ValueError, RecursionError):
            return False
        number = values.get("fn_index") if isinstance(values, dict) else None
        if number is not None:
            return type(number) is int and number in self.numbers
        return isinstance(values, dict) and name in self.names


class PageToken(_Guard):
    """Callbacks of the page are for the page: it has a token, which other programs and pages do not have."""

    def __init__(self, app: ASGIApp, token: str, public: Callable[[], Public]) -> None:
        super().__init__(app)
        self.token, self.public = token, public

    async def check(self, request: Request) -> Receive:
        """Calls that are public endpoints, logins and the end of one's own calls need none."""
        path = request.url.path
        if request.method not in CHANGING or not path.startswith((*CALLS, "/gradio_api/upload")):
            return request.receive
        if hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), self.token.encode()):
            return request.receive
        if path.startswith(CALLS):
            body = await request.body()
            if self.public().calls(path, body):
                return _again(body, request.receive)
        raise Refusal(403, "this belongs to the page: reload it; programs may call the endpoints of docs/STUDIO.md")


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, and whatever comes then."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return left.pop() if left else await receive()

    return read


class TokenInPage:
    """Puts the page's token where its requests find it: a script at the head of the page adds it to each."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.script = app, _SCRIPT.replace("TOKEN", json.dumps(token)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        start: dict[str, Any] = {}
        parts: list[bytes] = []

        async def with_token(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            if message["type"] != "http.response.body":
                return  # what a test client is told besides
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            page = b"".join(parts)
            if Headers(raw=start["headers"]).get("content-type", "").startswith("text/html"):
                page = page.replace(b"<head>", b"<head>" + self.script, 1)
            headers = MutableHeaders(raw=start["headers"])
            headers["content-length"], headers["cache-control"] = str(len(page)), "no-store"
            await send({**start, "headers": headers.raw})
            await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, with_token)


_SCRIPT = """<script>
{
  const fetched = window.fetch;
  window.fetch = (asked, options = {}) => {
    const url = new URL(asked instanceof Request ? asked.url : asked, document.baseURI);
    if (url.origin !== window.location.origin) return fetched(asked, options);
    const headers = new Headers(options.headers ?? (asked instanceof Request ? asked.headers : undefined));
    headers.set("x-studio-token", TOKEN);
    return fetched(asked, { ...options, headers });
  };
}
</script>"""
