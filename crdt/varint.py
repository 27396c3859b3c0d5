"""lib0 variable-length integers, bounded.

lib0 writes unsigned integers in little-endian groups of seven bits. Python's integers have no width, so an unbounded
reader is quadratic in the input (FF repeated a million times stalls for a minute): eight bytes are the most we read,
which is enough for the 53 bits that JavaScript can hold.
"""

from __future__ import annotations

from typing import Final

from crdt.errors import ProtocolError

MAX_SAFE: Final = 2**53 - 1
"""JavaScript's Number.MAX_SAFE_INTEGER: lib0 throws on anything larger."""


def read_uint(data: bytes, pos: int) -> tuple[int, int]:
    """Read one unsigned integer at `pos`; return it and the position behind it.

    Raises:
        ProtocolError: `truncated` at the end of the data, `varint` above eight bytes or 2^53-1.
    """
    size = len(data)
    if pos >= size:
        raise ProtocolError("truncated", "an integer is missing")
    byte = data[pos]
    if byte < 0x80:
        return byte, pos + 1
    value = byte & 0x7F
    shift = 7
    while True:
        pos += 1
        if pos >= size:
            raise ProtocolError("truncated", "an integer ends in the middle")
        if shift > 49:
            raise ProtocolError("varint", "an integer is longer than eight bytes")
        byte = data[pos]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    if value > MAX_SAFE:
        raise ProtocolError("varint", "an integer is larger than 2^53-1")
    return value, pos + 1


def read_bytes(data: bytes, pos: int) -> tuple[bytes, int]:
    """Read a length and as many bytes (lib0 varUint8Array); return them and the position behind them.

    Raises:
        ProtocolError: `truncated` when fewer bytes are left than the length says.
    """
    length, pos = read_uint(data, pos)
    end = pos + length
    if end > len(data):
        raise ProtocolError("truncated", "a byte string is longer than the data")
    return data[pos:end], end


_ONE_BYTE: Final = [bytes((value,)) for value in range(0x80)]


def uint(value: int) -> bytes:
    """Encode one unsigned integer."""
    if value < 0x80:
        return _ONE_BYTE[value]
    # The groups are moved apart in one number, which is several times faster than byte by byte.
    spread = value & 0x7F | (value & 0x3F80) << 1 | (value & 0x1FC000) << 2 | (value & 0xFE00000) << 3
    if value < 1 << 14:
        return (spread | 0x80).to_bytes(2, "little")
    if value < 1 << 21:
        return (spread | 0x8080).to_bytes(3, "little")
    if value < 1 << 28:
        return (spread | 0x808080).to_bytes(4, "little")
    return (spread | 0x80808080).to_bytes(4, "little") + uint(value >> 28)


def write_uint(out: bytearray, value: int) -> None:
    """Append one unsigned integer to `out`."""
    out += uint(value)


def write_bytes(out: bytearray, data: bytes) -> None:
    """Append a length and the bytes (lib0 varUint8Array) to `out`."""
    write_uint(out, len(data))
    out += data
