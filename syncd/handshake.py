"""The opening handshake of RFC 6455 §4.2, as a server: a parsed request in, an answer out. No I/O, no policy.

Whether a client may come in is decided by the node; here it is only checked that the request is a websocket handshake.
Extensions are never negotiated: compression would let 1 KB of input become 1 MB of memory, and saves little on
updates.
"""

import base64
import binascii
import http
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol
from websockets.utils import accept_key

from syncd.link import Handshake

_LOOPBACK = frozenset({"127.0.0.1", "::1"})

# Narrower than RFC 9112 allows, so that whatever is the least unusual is judged by a real HTTP parser.
_UPGRADE_HEAD = re.compile(
    rb"GET (/[\x21-\x7e]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n"
)
_BODY_HEADERS = frozenset({"content-length", "transfer-encoding", "expect"})


class HandshakeError(Exception):
    """The request is no acceptable handshake. `status` is the HTTP status to answer with, `headers` go along."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


_Fields = Mapping[str, Sequence[str]]
"""The values of each header, by its lower-case name."""


class Request(NamedTuple):
    """The head of one HTTP request. Header names are lower-case; `headers` keeps repeated ones, in order."""

    method: str
    target: bytes
    headers: tuple[tuple[str, str], ...]
    http_version: str = "1.1"


class Opening(NamedTuple):
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


def read_upgrade(data: bytes) -> tuple[Request, bytes] | None:
    """The request for a websocket that `data` begins with, and what follows it; None when it is not plainly that.

    None does not mean that `data` is wrong: it is for an HTTP parser to say what it is.
    """
    found = _UPGRADE_HEAD.match(data)
    if found is None:
        return None
    target, fields = found.groups()
    lines = fields.decode("latin-1").split("\r\n")
    lines.pop()  # what follows the last line's end
    headers = []
    wanted = 0
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if name in _BODY_HEADERS:
            return None
        if name == "upgrade" and value.lower() == "websocket":
            wanted |= 1
        elif name == "connection" and "upgrade" in value.lower():
            wanted |= 2
        headers.append((name, value))
    if wanted != 3:
        return None
    return Request("GET", target, tuple(headers)), data[found.end() :]


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
    fields: dict[str, list[str]] = {}
    for name, value in request.headers:
        fields.setdefault(name, []).append(value)
    if "upgrade" not in _tokens(fields, "connection") or _tokens(fields, "upgrade") != ["websocket"]:
        raise HandshakeError(426, "this is a websocket endpoint", {"Upgrade": "websocket", "Connection": "Upgrade"})
    if fields.get("sec-websocket-version") != ["13"]:
        raise HandshakeError(426, "only websocket version 13 is spoken", {"Sec-WebSocket-Version": "13"})
    raw_path, _, query = _origin_form(request.target).partition(b"?")
    handshake = Handshake(
        raw_path=raw_path,
        query=query,
        headers=dict(request.headers),
        address=client_address(peer, fields.get("x-forwarded-for", ()), trusted_proxies),
        subprotocols=_subprotocols(fields),
    )
    return Opening(handshake, accept_key(_key(fields)))


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


def _tokens(fields: _Fields, name: str) -> list[str]:
    return [token.strip().lower() for value in fields.get(name, ()) for token in value.split(",")]


def _key(fields: _Fields) -> str:
    values = fields.get("sec-websocket-key", ())
    try:
        raw = base64.b64decode(values[0].encode(), validate=True) if len(values) == 1 else b""
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        raise HandshakeError(400, "Sec-WebSocket-Key must be given once and be 16 bytes in base64")
    return values[0]


def _subprotocols(fields: _Fields) -> tuple[str, ...]:
    offered = fields.get("sec-websocket-protocol")
    if offered is None:
        return ()
    try:
        return tuple(name for value in offered for name in parse_subprotocol(value))
    except InvalidHeader:
        raise HandshakeError(400, "Sec-WebSocket-Protocol is malformed") from None
