"""Checksums of stored records: they bind the bytes to the room and to what stands beside them in the row."""

import struct
from typing import Final
from zlib import crc32

_UPDATE: Final = struct.Struct(">qII")
_BLOCK: Final = struct.Struct(">qqI")


def update_crc(room: bytes, data: bytes, author: bytes, at: int) -> int:
    """Return the CRC-32 of an update of `room` (UTF-8). Raises struct.error if `at` does not fit 64 bits."""
    return crc32(data, crc32(_UPDATE.pack(at, len(room), len(author)) + room + author))


def block_crc(room: bytes, first: int, last: int, data: bytes) -> int:
    """Return the CRC-32 of a block of `room` (UTF-8) that covers positions `first`..`last`."""
    return crc32(data, crc32(_BLOCK.pack(first, last, len(room)) + room))
