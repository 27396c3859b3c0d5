"""What stands between the websocket endpoints and the rooms: one socket as the rooms see it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol


class Link(Protocol):
    """One websocket, as an endpoint gives it to the node. No method blocks, awaits or raises on a dead socket."""

    @property
    def send(self) -> Callable[[bytes], object]:
        """Queue one or more messages, each as a whole websocket frame (`syncd.frames.frame`); order is kept.

        A frame is made once, however many sockets read it. Look it up for every call: a socket that is full or
        closing puts another function in its place.
        """

    def ping(self) -> None:
        """Send a protocol ping where the endpoint can, else nothing."""

    def close(self, code: int, reason: str, delay: float = 0.0) -> None:
        """After `delay` seconds send a close frame, then drop the socket after the handshake or a deadline."""

    def abort(self) -> None:
        """Drop the socket at once, without a closing handshake."""

    def buffered(self) -> int:
        """Bytes that are queued and not yet taken by the kernel."""

    def pause_reading(self) -> None:
        """Take nothing more from the peer until `resume_reading`; a little that is under way may still come."""

    def resume_reading(self) -> None:
        """Go on reading."""


class Handshake(NamedTuple):
    """The request that asked for a websocket.

    `raw_path` is the path as it was sent, before '?'; `headers` have lower-case names, the last of several wins;
    `address` is the client's host; `subprotocols` are those offered, in the client's order of preference.
    """

    raw_path: bytes
    query: bytes
    headers: Mapping[str, str]
    address: str
    subprotocols: tuple[str, ...]
