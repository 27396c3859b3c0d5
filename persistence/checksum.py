"""Checksums of stored records: they bind the bytes to the room and to what stands beside them in the row."""

import struct
import zlib


def update_crc(room: bytes, data: bytes, author: bytes, at: int) -> int:
    """Return the CRC-32 of an update of `room` (UTF-8). Raises struct.error if `at` does not fit 64 bits."""
    return zlib.crc32(data, zlib.crc32(struct.pack(">qII", at, len(room), len(author)) + room + author))


def block_crc(room: bytes, first: int, last: int, data: bytes) -> int:
    """Return the CRC-32 of a block of `room` (UTF-8) that covers positions `first`..`last`."""
    return zlib.crc32(data, zlib.crc32(struct.pack(">qqI", first, last, len(room)) + room))
