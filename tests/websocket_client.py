"""A websocket client without manners: it sends any bytes and reports exactly what came back."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from websockets.utils import apply_mask

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key of the example in RFC 6455 §1.3; the answer to it is `ACCEPT`."""
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x37\xfa\x21\x3d"

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def header(first: int, length: int, *, masked: bool = True) -> bytes:
    """The start of a client frame that announces `length` bytes, up to and with the mask."""
    bit = 0x80 if masked else 0
    if length < 126:
        head = bytes((first, bit | length))
    elif length < 65536:
        head = bytes((first, bit | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + length.to_bytes(8, "big")
    return head + (MASK if masked else b"")


def client_frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
    """One frame as a client sends it."""
    data = apply_mask(payload, MASK) if masked else payload
    return header((0x80 if fin else 0) | opcode, len(payload), masked=masked) + data


def close_payload(code: int, reason: bytes = b"") -> bytes:
    """The payload of a close frame."""
    return code.to_bytes(2, "big") + reason


def upgrade_request(path: str, drop: str = "", **headers: str) -> bytes:
    """An upgrade request. `headers` replace or add (underscores for hyphens), `drop` leaves one out."""
    fields = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    fields.pop(drop, None)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode()


class RawClient:
    """One TCP connection. Reading is always awaited to an outcome: a frame, or the end of the stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Self:
        """Open a TCP connection to a server on this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    @classmethod
    async def open(cls, port: int, path: str) -> Self:
        """Open a websocket; asserts that the server accepts it."""
        client = await cls.connect(port)
        client.send(upgrade_request(path))
        status, headers, _ = await client.response()
        assert status == 101, status
        assert headers["sec-websocket-accept"] == ACCEPT
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drop()

    async def drop(self) -> None:
        """End the connection without a word, and wait until the socket is gone."""
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def stop_reading(self) -> None:
        """Take nothing more from the kernel."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume_reading(self) -> None:
        """Take again."""
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(data)

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower-case names) and body of an HTTP response."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(lines[0].split()[1]), headers, body

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: (opcode, payload). Asserts that it is a legal server frame: FIN, no RSV, no mask."""
        first, length = await self.reader.readexactly(2)
        assert first & 0xF0 == 0x80
        assert length < 128
        if length > 125:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
        return first & 0x0F, await self.reader.readexactly(length)

    async def messages_until_close(self) -> tuple[list[bytes], int | None]:
        """All binary messages, then the code of the close frame; None if the stream ended without one."""
        messages: list[bytes] = []
        try:
            while True:
                opcode, payload = await self.frame()
                if opcode == CLOSE:
                    return messages, int.from_bytes(payload[:2], "big")
                if opcode == BINARY:
                    messages.append(payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            return messages, None

    async def close_code(self) -> int | None:
        """The code of the close frame, whatever comes before it; None if the stream ends without one."""
        return (await self.messages_until_close())[1]

    async def ended(self) -> bytes:
        """What is left until the server ends the stream."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""
