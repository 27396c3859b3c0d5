"""The opening handshake of RFC 6455 §4.2, as a server: a parsed request in, an answer out. No I/O, no policy.

Whether a client may come in is decided by the node; here it is only checked that the request is a websocket handshake.
Extensions are never negotiated: compression would let 1 KB of input become 1 MB of memory, and saves little on
updates.
"""

import base64
import binascii
import http
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol
from websockets.utils import accept_key

from syncd.link import Handshake

_LOOPBACK = frozenset({"127.0.0.1", "::1"})


class HandshakeError(Exception):
    """The request is no acceptable handshake. `status` is the HTTP status to answer with, `headers` go along."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Request:
    """The head of one HTTP request. Header names are lower-case; `headers` keeps repeated ones, in order."""

    method: str
    target: bytes
    headers: tuple[tuple[str, str], ...]
    http_version: str = "1.1"


@dataclass(frozen=True, slots=True)
class Opening:
    """A valid handshake: what the node sees of it, and the Sec-WebSocket-Accept value."""

    handshake: Handshake
    accept: str


def parse_head(data: bytes) -> Request:
    """Parse a request head that an HTTP parser has already accepted and written out again.

    Raises HandshakeError for anything but `METHOD target HTTP/x.y`, header lines and an empty line.
    """
    lines = data.split(b"\r\n")
    first = lines[0].split(b" ")
    if len(first) != 3 or lines[-2:] != [b"", b""]:
        raise HandshakeError(400, "malformed request")
    return Request(
        method=first[0].decode("latin-1"),
        target=first[1],
        headers=decode_headers(line.partition(b":")[::2] for line in lines[1:-2]),
        http_version=first[2].decode("latin-1").removeprefix("HTTP/"),
    )


def decode_headers(pairs: Iterable[tuple[bytes, ...]]) -> tuple[tuple[str, str], ...]:
    """Header names and values as text: lower-case names, ISO-8859-1 as HTTP defines it, outer blanks removed."""
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")) for name, value in pairs)


def open_handshake(request: Request, peer: str, trusted_proxies: frozenset[str] = _LOOPBACK) -> Opening:
    """Check a handshake. `peer` is the address the socket comes from.

    Raises HandshakeError with the status that RFC 6455 §4.2.1 and §4.4 ask for.
    """
    if request.method != "GET":
        raise HandshakeError(405, "a websocket handshake is a GET request", {"Allow": "GET"})
    if request.http_version != "1.1":
        raise HandshakeError(505, "a websocket handshake needs HTTP/1.1")
    headers = dict(request.headers)
    if "upgrade" not in _tokens(request, "connection") or _tokens(request, "upgrade") != ["websocket"]:
        raise HandshakeError(426, "this is a websocket endpoint", {"Upgrade": "websocket", "Connection": "Upgrade"})
    if _values(request, "sec-websocket-version") != ["13"]:
        raise HandshakeError(426, "only websocket version 13 is spoken", {"Sec-WebSocket-Version": "13"})
    raw_path, _, query = _origin_form(request.target).partition(b"?")
    handshake = Handshake(
        raw_path=raw_path,
        query=query,
        headers=headers,
        address=client_address(peer, _values(request, "x-forwarded-for"), trusted_proxies),
        subprotocols=_subprotocols(request),
    )
    return Opening(handshake, accept_key(_key(request)))


def client_address(peer: str, forwarded: Iterable[str], trusted: frozenset[str]) -> str:
    """The client's address: the socket's, or what trusted proxies say of it.

    Each proxy appends the address it saw to X-Forwarded-For, so the list is read from its end and the first address
    that is no trusted proxy counts; what stands before it may be invented by the client. `*` trusts everyone.
    """
    if peer not in trusted and "*" not in trusted:
        return peer
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    for hop in reversed(hops):
        if hop and hop not in trusted:
            return hop
    return peer


def accepted(accept: str, subprotocol: str | None) -> bytes:
    """The 101 response."""
    chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol is not None else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n"
    ).encode("latin-1")


def refused(status: int, detail: str, headers: Mapping[str, str] | None = None) -> bytes:
    """An HTTP response that refuses the upgrade and ends the connection."""
    body = (detail + "\n").encode()
    fields = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Connection": "close",
        **(headers or {}),
    }
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def _origin_form(target: bytes) -> bytes:
    """Path and query of a request target; proxies may send the absolute form, `http://host/path` (RFC 9112 §3.2.2)."""
    if target.startswith(b"/"):
        return target
    scheme, found, rest = target.partition(b"://")
    path = rest.find(b"/")
    return rest[path:] if found and scheme.isalpha() and path > 0 else target


def _values(request: Request, name: str) -> list[str]:
    return [value for key, value in request.headers if key == name]


def _tokens(request: Request, name: str) -> list[str]:
    return [token.strip().lower() for value in _values(request, name) for token in value.split(",")]


def _key(request: Request) -> str:
    values = _values(request, "sec-websocket-key")
    try:
        raw = base64.b64decode(values[0].encode(), validate=True) if len(values) == 1 else b""
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        raise HandshakeError(400, "Sec-WebSocket-Key must be given once and be 16 bytes in base64")
    return values[0]


def _subprotocols(request: Request) -> tuple[str, ...]:
    try:
        return tuple(name for value in _values(request, "sec-websocket-protocol") for name in parse_subprotocol(value))
    except InvalidHeader:
        raise HandshakeError(400, "Sec-WebSocket-Protocol is malformed") from None
