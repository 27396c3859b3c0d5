"""The HTTP side of a node: health, readiness, metrics and the web client. Errors are RFC 9457 problem documents."""

import asyncio
import http
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncd import __version__
from syncd.metrics import exposition
from syncd.web_files import INDEX, WebFile, find_web_folder, load_web_files

logger = logging.getLogger(__name__)

READY_TIMEOUT = 2.0
"""Seconds after which a part that has not answered makes the node not ready."""

# Quill writes style attributes into the document, hence 'unsafe-inline' for styles, and only for styles.
_PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob: https:",
        "font-src 'self' data:",
        "connect-src 'self' ws: wss:",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"

_NO_CLIENT = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>syncd</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }</style>
</head><body><h1>syncd is running</h1>
<p>The web client has not been built. In a checkout, <code>make web</code> builds it; restart the server afterwards.</p>
<p>Yjs clients can connect without it.</p></body></html>
"""


@dataclass(frozen=True, slots=True)
class Part:
    """Readiness of one part of a node. `detail` is for an operator and must hold no secret."""

    ok: bool
    detail: str = ""


Readiness = Callable[[], Awaitable[Mapping[str, Part]]]
"""Asks every part of the node, by name. Raising, or taking longer than READY_TIMEOUT, means not ready."""


def create_app(
    readiness: Readiness,
    registry: CollectorRegistry,
    *,
    prefix: str = "/ws/",
    web: bool = True,
    web_folder: Path | None = None,
    routes: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """The ASGI application of a node.

    `prefix` is where websockets are opened (a plain GET there is told so); `web` serves the built client, from
    `web_folder` if given; `routes` come before all others.
    """
    endpoints: list[BaseRoute] = [
        *routes,
        Route("/healthz", _healthz),
        Route("/readyz", _Readyz(readiness)),
        Route("/metrics", _Metrics(registry)),
    ]
    if prefix != "/":
        endpoints.append(Route(f"{prefix}{{room:path}}", _upgrade_required))
    if web:
        client = _WebClient(load_web_files(web_folder or find_web_folder()))
        endpoints += [Route("/", client.page), Route("/d/{room:path}", client.page), Route("/{path:path}", client.file)]
    app = Starlette(routes=endpoints, exception_handlers={HTTPException: _http_problem, Exception: _internal_problem})
    return _SafeHeaders(app)


def problem(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """An error as application/problem+json (RFC 9457). `detail` is shown to the caller."""
    document: dict[str, object] = {"type": "about:blank", "title": http.HTTPStatus(status).phrase, "status": status}
    if detail and detail != document["title"]:
        document["detail"] = detail
    return _no_store(Response(orjson.dumps(document), status, headers, media_type="application/problem+json"))


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, error.headers)


async def _internal_problem(request: Request, error: Exception) -> Response:
    return problem(500)  # the server logs the exception; it is not the caller's business


async def _healthz(request: Request) -> Response:
    return _json({"status": "ok", "version": __version__})


async def _upgrade_required(request: Request) -> Response:
    return problem(426, "this is a websocket endpoint", {"Upgrade": "websocket", "Connection": "Upgrade"})


class _Readyz:
    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        parts = await self._ask()
        ready = all(part.ok for part in parts.values())
        shown = {name: {"ok": part.ok, "detail": part.detail} for name, part in parts.items()}
        body = {"status": "ready" if ready else "unready", "parts": shown}
        await _json(body, 200 if ready else 503)(scope, receive, send)

    async def _ask(self) -> Mapping[str, Part]:
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                return await self._readiness()
        except TimeoutError:
            return {"node": Part(False, f"no answer within {READY_TIMEOUT:g} s")}
        except Exception:
            logger.exception("the readiness check failed")
            return {"node": Part(False, "the check failed; see the log")}


class _Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        body, content_type = exposition(self._registry, Request(scope).headers.get("accept", ""))
        await _no_store(Response(body, headers={"Content-Type": content_type}))(scope, receive, send)


class _WebClient:
    """Serves the files of the built client; `None` means that it was not built."""

    def __init__(self, files: Mapping[str, WebFile] | None) -> None:
        self._files = files

    async def page(self, request: Request) -> Response:
        if self._files is None:
            return _page(Response(_NO_CLIENT, media_type="text/html"))
        return _page(_serve(self._files[INDEX], request))

    async def file(self, request: Request) -> Response:
        path = request.path_params["path"]
        found = (self._files or {}).get(path)
        if found is None or path == INDEX:
            raise HTTPException(404)
        return _serve(found, request)


def _serve(file: WebFile, request: Request) -> Response:
    """A file, compressed if the client can take it, or 304 if the client has it (RFC 9110 §13.1.2)."""
    packed = file.packed if "gzip" in request.headers.get("accept-encoding", "") else None
    # Two encodings are two representations, and a strong tag must tell them apart.
    etag = f'"{file.etag}-gzip"' if packed is not None else f'"{file.etag}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "public, max-age=31536000, immutable" if file.immutable else "no-cache",
        "Vary": "Accept-Encoding",
    }
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    if packed is not None:
        headers["Content-Encoding"] = "gzip"
    return Response(packed or file.body, headers={**headers, "Content-Type": file.media_type})


def _page(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _PAGE_POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response


def _json(body: object, status: int = 200) -> Response:
    return _no_store(Response(orjson.dumps(body), status, media_type="application/json"))


def _no_store(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


class _SafeHeaders:
    """Adds to every response the headers that keep a browser from doing more with it than it is meant for."""

    _HEADERS = (
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),  # a room's name, or a token in the address, is nobody else's business
        ("X-Frame-Options", "DENY"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Content-Security-Policy", _DATA_POLICY),
    )

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._HEADERS:
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_safely if scope["type"] == "http" else send)
