"""WebSocket frames of a server, without I/O: bytes in, events out; messages in, frame bytes out (RFC 6455).

Only what a Yjs server needs is implemented: binary messages, no extensions. Every rule that is enforced on input is in
`FrameReader`; a broken rule ends the reader with exactly one `ProtocolViolation`, and what was complete before it is
still delivered. Lengths are judged from the header, so an oversize frame is refused before any of it is kept.
"""

from collections.abc import Callable
from typing import Final

try:
    from websockets.speedups import apply_mask as _native_mask
except ImportError:  # the C extension is optional in the websockets package
    from websockets.utils import apply_mask as _native_mask

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
INVALID_DATA: Final = 1007
MESSAGE_TOO_BIG: Final = 1009
NO_STATUS: Final = 1005

Event = tuple[int, bytes]
"""(opcode, payload): a whole BINARY message, or a PING, PONG or CLOSE frame. Payloads are unmasked."""

_mask: Final[Callable[[bytes | bytearray | memoryview, bytes | bytearray], bytes]] = _native_mask
_FIN_BINARY: Final = 0x80 | BINARY
_SHORT_HEADERS: Final = [bytes((_FIN_BINARY, length)) for length in range(126)]
_VIEW_FROM: Final = 2048
"""Payloads of this many bytes and more are unmasked through a view; below it, copying a slice is cheaper."""


class ProtocolViolation(Exception):
    """The peer broke RFC 6455, or a limit.

    `code` is the close code to answer with, `rule` a short constant name for metrics. The text never holds payload.
    """

    def __init__(self, code: int, rule: str) -> None:
        super().__init__(rule)
        self.code = code
        self.rule = rule


def frame(message: bytes) -> bytes:
    """One whole binary server frame (FIN, unmasked, shortest length form of RFC 6455 §5.2)."""
    length = len(message)
    return (_SHORT_HEADERS[length] if length < 126 else _header(_FIN_BINARY, length)) + message


def messages_of(frames: bytes) -> list[bytes]:
    """The messages in frames that `frame` made."""
    messages: list[bytes] = []
    position = 0
    while position < len(frames):
        length = frames[position + 1]
        position += 2
        if length > 125:
            width = 2 if length == 126 else 8
            length = int.from_bytes(frames[position : position + width], "big")
            position += width
        messages.append(frames[position : position + length])
        position += length
    return messages


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping; `payload` is at most 125 bytes."""
    return _control(PING, payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping, which must carry the ping's payload (RFC 6455 §5.5.3)."""
    return _control(PONG, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame. `NO_STATUS` gives an empty one; a reason over 123 bytes is cut at a character boundary."""
    if code == NO_STATUS:
        return _control(CLOSE, b"")
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return _control(CLOSE, code.to_bytes(2, "big") + text)


def close_code(payload: bytes) -> int:
    """The code in the payload of a CLOSE event; `NO_STATUS` when the peer sent none (RFC 6455 §7.1.5)."""
    return int.from_bytes(payload[:2], "big") if payload else NO_STATUS


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126, length >> 8, length & 0xFF))
    return bytes((first, 127)) + length.to_bytes(8, "big")


def _control(opcode: int, payload: bytes) -> bytes:
    if len(payload) > 125:
        raise ValueError("a control frame carries at most 125 bytes")
    return bytes((0x80 | opcode, len(payload))) + payload


def _check_start(first: int, second: int) -> None:
    """The rules that the first two bytes of a frame decide (RFC 6455 §5.1, §5.2, §5.5)."""
    if first & 0x70:
        raise ProtocolViolation(PROTOCOL_ERROR, "reserved-bits")
    opcode = first & 0x0F
    if opcode > PONG or BINARY < opcode < CLOSE:
        raise ProtocolViolation(PROTOCOL_ERROR, "opcode")
    if not second & 0x80:
        raise ProtocolViolation(PROTOCOL_ERROR, "unmasked")
    if opcode >= CLOSE:
        if not first & 0x80:
            raise ProtocolViolation(PROTOCOL_ERROR, "fragmented-control")
        if second & 0x7F > 125:
            raise ProtocolViolation(PROTOCOL_ERROR, "long-control")
    elif opcode == TEXT:
        # Yjs speaks binary only; refusing from the header spares reading a text that will not be used.
        raise ProtocolViolation(UNSUPPORTED_DATA, "text")


def _check_close(payload: bytes) -> None:
    """RFC 6455 §5.5.1 and §7.4: no half code, no code that must not be sent, a reason in UTF-8."""
    if not payload:
        return
    if len(payload) == 1:
        raise ProtocolViolation(PROTOCOL_ERROR, "close-payload")
    code = int.from_bytes(payload[:2], "big")
    if not (3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))):
        raise ProtocolViolation(PROTOCOL_ERROR, "close-code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolViolation(INVALID_DATA, "close-reason") from None


class FrameReader:
    """Turns the bytes of one client into events.

    `max_message` bounds a message, whole or reassembled, in bytes. At most one incomplete frame and one incomplete
    message are held; a peer that drips single bytes or empty fragments costs no more memory than one that does not.
    """

    __slots__ = ("_buffer", "_limit", "_parts", "_short", "_wanted", "finished", "violation")

    def __init__(self, max_message: int) -> None:
        self._limit = max_message
        self._short = 6 + min(125, max_message)  # the longest frame that the shortcuts take
        self._buffer: bytearray | None = None  # an incomplete frame, from its first byte
        self._wanted = 0  # length of _buffer from which parsing can make progress
        self._parts: bytearray | None = None  # payload so far of a fragmented message
        self.violation: ProtocolViolation | None = None
        self.finished = False  # a close frame or a violation was met: all later bytes are ignored

    @property
    def held(self) -> int:
        """Bytes of memory reserved for what is incomplete."""
        return sum(kept.__alloc__() for kept in (self._buffer, self._parts) if kept is not None)

    def single(self, data: bytes) -> bytes | None:
        """The message, if `data` is exactly one small unfragmented binary frame and nothing is pending; else None.

        The common case of a keystroke. None says nothing about `data`: hand it to `receive`.
        """
        if self._buffer is not None or self._parts is not None or self.finished:
            return None
        size = len(data)
        # The second byte of a short masked frame is 0x80 + the payload's length, which is size - 6.
        if size < 7 or size > self._short or data[0] != _FIN_BINARY or data[1] != size + 122:
            return None
        return _mask(data[6:], data[2:6])

    def receive(self, data: bytes) -> list[Event]:
        """Take the next bytes of the stream; returns the events they complete, in order.

        Look at `violation` and `finished` after handling the events. Never raises on account of `data`.
        """
        if self.finished:
            return []
        source: bytes | bytearray = data
        buffer = self._buffer
        if buffer is not None:
            buffer += data
            if len(buffer) < self._wanted:
                return []
            self._buffer = None
            source = buffer
        events: list[Event] = []
        try:
            rest = self._parse(source, events)
        except ProtocolViolation as violation:
            self._end(violation)
            return events
        if not self.finished and rest < len(source):
            # The tail is copied once here, and once more only when its frame is complete: cost stays linear.
            self._buffer = buffer if buffer is not None and not rest else bytearray(memoryview(source)[rest:])
        return events

    def _end(self, violation: ProtocolViolation | None) -> None:
        self.finished = True
        self.violation = violation
        self._buffer = self._parts = None

    def _parse(self, source: bytes | bytearray, events: list[Event]) -> int:
        """Append the events of all whole frames in `source`; returns where the first incomplete frame starts."""
        position = 0
        end = len(source)
        while position < end:
            # A reader that lags behind gets many keystrokes in one chunk; for those this shortcut halves the cost.
            if end - position > 6 and source[position] == _FIN_BINARY and self._parts is None:
                stop = position + source[position + 1] - 122
                if position + 6 <= stop <= end and stop - position <= self._short:
                    key = position + 2
                    events.append((BINARY, _mask(source[key + 4 : stop], source[key : key + 4])))
                    position = stop
                    continue
            start = self._payload_start(source, position, end)
            stop = position + self._wanted
            if not start or stop > end:
                break
            self._frame(source[position], self._unmask(source, start, stop), events)
            position = stop
            if self.finished:
                break
        return position

    def _payload_start(self, source: bytes | bytearray, position: int, end: int) -> int:
        """Index of the payload of the frame at `position`, or 0 if its header is incomplete.

        Sets `_wanted` to the length of the whole frame, or of the part of the header that is needed next.
        """
        self._wanted = 2
        if end - position < 2:
            return 0
        first = source[position]
        second = source[position + 1]
        _check_start(first, second)
        length = second & 0x7F
        header = 6
        if length > 125:
            width = 2 if length == 126 else 8
            self._wanted = 2 + width
            if end - position < 2 + width:
                return 0
            length = int.from_bytes(source[position + 2 : position + 2 + width], "big")
            if length < (126 if width == 2 else 65536) or length >> 63:
                raise ProtocolViolation(PROTOCOL_ERROR, "length-form")
            header = 6 + width
        self._check_order(first & 0x0F, length)
        self._wanted = header + length
        return position + header

    def _check_order(self, opcode: int, length: int) -> None:
        """The rules that need what came before: order of fragments (RFC 6455 §5.4) and the size of the message."""
        if opcode >= CLOSE:
            return
        parts = self._parts
        if (opcode == CONTINUATION) != (parts is not None):
            raise ProtocolViolation(PROTOCOL_ERROR, "fragment-order")
        if length + (len(parts) if parts is not None else 0) > self._limit:
            raise ProtocolViolation(MESSAGE_TOO_BIG, "message-size")

    @staticmethod
    def _unmask(source: bytes | bytearray, start: int, stop: int) -> bytes:
        key = source[start - 4 : start]
        if stop - start < _VIEW_FROM:
            return _mask(source[start:stop], key)
        return _mask(memoryview(source)[start:stop], key)

    def _frame(self, first: int, payload: bytes, events: list[Event]) -> None:
        opcode = first & 0x0F
        if first == _FIN_BINARY or opcode > CLOSE:
            events.append((opcode, payload))
        elif opcode == CLOSE:
            _check_close(payload)
            self._end(None)
            events.append((CLOSE, payload))
        else:
            self._assemble(first & 0x80, payload, events)

    def _assemble(self, fin: int, payload: bytes, events: list[Event]) -> None:
        """Add one fragment. All go into one growing buffer, so that a flood of empty ones costs no memory."""
        parts = self._parts
        if parts is None:
            self._parts = bytearray(payload)
            return
        parts += payload
        if fin:
            events.append((BINARY, bytes(parts)))
            self._parts = None
