"""The page behind its guards on a socket, from the first request to the last."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.routes import App
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount

from app.serving.guards import KnownRoutes, LoggedIn, PageToken, Public, SameOrigin, SlowLogins, TokenInPage
from app.serving.leaving import leave_later
from app.serving.memory import return_freed_memory
from app.serving.patience import Impatient
from app.serving.place import Place
from app.serving.sessions import Sessions, bound_sessions
from detdiffusion import bounds

_TICKS = 600  # of uvicorn, ten a second, from one return of freed memory to the next


def guarded(page: gr.Blocks, place: Place, **options: Any) -> FastAPI:
    """The page as an application. options: as `gr.mount_gradio_app` takes them."""
    token = secrets.token_urlsafe(32)
    logins: list[Middleware] = []
    if place.logins:
        logins = [
            Middleware(SlowLogins),
            Middleware(LoggedIn, logged_in=lambda cookies: _logged_in(_of_gradio(outer), cookies)),
        ]
    bound_sessions(page)
    outer: FastAPI = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=place.hosts(), www_redirect=False),
            Middleware(SameOrigin, names=place.names),
            Middleware(CORSMiddleware),  # nobody else's pages; where it stands, Gradio adds no headers of its own
            Middleware(KnownRoutes),
            *logins,
            Middleware(RequestBodyLimitMiddleware, max_body_size=bounds.BODY_BYTES),
            Middleware(PageToken, token=token, public=lambda: _public(page)),
        ],
    )
    gr.mount_gradio_app(
        outer,
        page,
        path="",
        server_name=place.host,
        server_port=place.port,
        auth=list(place.logins) or None,
        root_path=place.root_path or None,
        app_kwargs={"middleware": [Middleware(TokenInPage, token=token)], "openapi_url": None},
        **options,
    )
    sessions = _of_gradio(outer).state_holder = Sessions()
    sessions.set_blocks(page)
    return outer


def _of_gradio(outer: FastAPI) -> App:
    return next(route.app for route in outer.routes if isinstance(route, Mount))


def _logged_in(app: App, cookies: Mapping[str, str]) -> bool:
    """As Gradio's own routes ask it."""
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(cookies.get(name)) is not None for name in names)


def _public(page: gr.Blocks) -> Public:
    public = [fn for fn in page.fns.values() if fn.api_visibility == "public" and fn.fn is not None]
    return Public(frozenset(fn._id for fn in public), frozenset(str(fn.api_name) for fn in public))


class Server(uvicorn.Server):
    """Says when it serves, and ends within `bounds.LEAVING_SECONDS` of a signal, whatever is going on.

    closing: called with the first signal. What lasts is written aside and renamed, so that an end at any instant
    leaves the old or the new.
    """

    def __init__(self, config: uvicorn.Config, serving: Callable[[], None], closing: Callable[[], None]) -> None:
        super().__init__(config)
        self._serving, self._closing = serving, closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Binds, and says so."""
        await super().startup(sockets)
        if self.started:
            self._serving()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; whether to end."""
        if counter % _TICKS == 0:
            return_freed_memory()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal: everything ends after the step that it is at, or when its time is over."""
        if not self.should_exit:
            logging.getLogger("uvicorn.error").addFilter(is_news)
            leave_later()
            self._closing()
        self.force_exit = self.force_exit or self.should_exit
        self.should_exit = True


def is_news(record: logging.LogRecord) -> bool:
    """Whether what is logged at the end says more than that somebody was still connected."""
    cut_off = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cut_off and "graceful shutdown exceeded" not in record.getMessage()


def serve(app: FastAPI, place: Place, serving: Callable[[], None], closing: Callable[[], None]) -> None:
    """Serves until a signal comes; returns when it has ended."""
    config = uvicorn.Config(
        app,
        host=place.host,
        port=place.port,
        log_level="warning",
        http=Impatient,  # h11, which bounds the size of heads
        ws="none",
        limit_concurrency=bounds.CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    Server(config, serving, closing).run()


def tunnel(page: gr.Blocks, place: Place) -> str:
    """Opens a public address through Gradio's tunnel; returns it. OSError where there is none."""
    from gradio.networking import setup_tunnel

    try:
        return str(setup_tunnel("127.0.0.1", place.port, page.share_token, None, None))
    except Exception as error:  # whatever it is: the network is not ours
        raise OSError(f"no public address could be opened ({error})") from error
