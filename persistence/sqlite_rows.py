"""The statements of the SQLite store: plain functions over a connection, run by its one thread.

None of them begins or ends a transaction; `persistence.sqlite` does.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import assert_never

from crdt.ids import RoomId
from persistence.api import (
    EMPTY_ROOM,
    FIRST_POSITION,
    Change,
    Compaction,
    Deletion,
    Record,
    RoomStats,
    StoredBlock,
    StoredRoom,
    StoredUpdate,
)
from persistence.checksum import block_crc, update_crc
from persistence.errors import CorruptRecord, RecordTooLarge

Row = tuple[bytes, bytes, bytes, int, int]  # room, data, author, at, crc

MAX_RECORD_BYTES = 900_000_000  # below SQLite's SQLITE_MAX_LENGTH of 10^9 for a whole row
_ROOM_CACHE = 65_536

# quarantined and last_position look at all tables; block_bytes only at what load() returns.
_STATS = """
SELECT name, updates, update_bytes, block_bytes, max(update_last, block_last, poison_last), quarantined
FROM (SELECT r.name,
    (SELECT count(*) FROM updates u WHERE u.room = r.id) AS updates,
    (SELECT coalesce(sum(length(data)), 0) FROM updates u WHERE u.room = r.id) AS update_bytes,
    (SELECT coalesce(max(seq), 0) FROM updates u WHERE u.room = r.id) AS update_last,
    (SELECT coalesce(sum(length(data)), 0) FROM blocks b WHERE b.room = r.id AND (b.kind = 'snapshot' OR b.last >
        (SELECT coalesce(max(s.last), 0) FROM blocks s WHERE s.room = r.id AND s.kind = 'snapshot'))) AS block_bytes,
    (SELECT coalesce(max(last), 0) FROM blocks b WHERE b.room = r.id) AS block_last,
    (SELECT count(*) FROM quarantine q WHERE q.room = r.id) AS quarantined,
    (SELECT coalesce(max(position), 0) FROM quarantine q WHERE q.room = r.id) AS poison_last
  FROM rooms r
  WHERE r.name > ? AND (EXISTS (SELECT 1 FROM updates u WHERE u.room = r.id)
    OR EXISTS (SELECT 1 FROM blocks b WHERE b.room = r.id)
    OR EXISTS (SELECT 1 FROM quarantine q WHERE q.room = r.id))
  ORDER BY r.name LIMIT ?)
"""


def row_of(record: Record) -> Row:
    """Return the record as it is stored.

    Runs in the caller, so that a record that cannot be stored fails its own caller and not the batch it would join.
    Raises RecordTooLarge, UnicodeEncodeError (room or author), struct.error (`at` beyond 64 bits).
    """
    room, author = record.room.encode(), record.author.encode()
    if len(record.data) + len(room) + len(author) > MAX_RECORD_BYTES:
        raise RecordTooLarge(f"{len(record.data)} bytes for room {record.room!r}, limit {MAX_RECORD_BYTES}")
    return room, record.data, author, record.at, update_crc(room, record.data, author, record.at)


class RoomIds:
    """The integer ids of room names, created on first use; a bounded cache of committed and uncommitted ids.

    Safe because a transaction that has created an id and then fails makes the whole store unusable.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def get(self, connection: sqlite3.Connection, room: bytes) -> int:
        found = self._known.get(room)
        if found is None:
            if len(self._known) >= _ROOM_CACHE:
                self._known.clear()
            connection.execute("INSERT INTO rooms (name) VALUES (?) ON CONFLICT DO NOTHING", (room,))
            found = self._known[room] = _one(connection, "SELECT id FROM rooms WHERE name = ?", room)
        return found


def append(connection: sqlite3.Connection, ids: RoomIds, rows: Sequence[Row]) -> Sequence[int]:
    """Insert the rows and return their positions."""
    positions = []
    insert = "INSERT INTO updates (room, data, author, at, crc) VALUES (?, ?, ?, ?, ?)"
    for room, data, author, at, crc in rows:
        cursor = connection.execute(insert, (ids.get(connection, room), data, author, at, crc))
        assert cursor.lastrowid is not None  # set by every successful INSERT
        positions.append(cursor.lastrowid)
    return positions


def load(connection: sqlite3.Connection, room: RoomId) -> StoredRoom:
    """Return the room, verified. Raises CorruptRecord."""
    name = room.encode()
    found = connection.execute("SELECT id, generation FROM rooms WHERE name = ?", (name,)).fetchone()
    if found is None:
        return EMPTY_ROOM
    number, generation = found
    blocks = _blocks(connection, room, number)
    covered = blocks[-1].last if blocks else 0
    query = "SELECT seq, data, author, at, crc FROM updates WHERE room = ? AND seq > ? ORDER BY seq"
    updates = []
    for seq, data, author, at, crc in connection.execute(query, (number, covered)):
        if update_crc(name, data, author, at) != crc:
            raise CorruptRecord(room, seq, "the update does not match its checksum")
        updates.append(StoredUpdate(seq, data, author.decode(), at))
    return StoredRoom(blocks, tuple(updates), generation)


def _blocks(connection: sqlite3.Connection, room: RoomId, number: int) -> tuple[StoredBlock, ...]:
    columns = "SELECT first, last, data, crc FROM blocks WHERE room = ?"
    newest = f"{columns} AND kind = 'snapshot' ORDER BY last DESC LIMIT 1"
    rows = connection.execute(newest, (number,)).fetchall()
    covered = rows[0][1] if rows else 0
    rows += connection.execute(
        f"{columns} AND kind = 'segment' AND last > ? ORDER BY last", (number, covered)
    ).fetchall()
    expected = FIRST_POSITION
    for first, last, data, crc in rows:
        if block_crc(room.encode(), first, last, data) != crc:
            raise CorruptRecord(room, last, "the block does not match its checksum")
        if first != expected:
            raise CorruptRecord(room, last, f"the block starts at {first}, the one before it ends at {expected - 1}")
        expected = last + 1
    return tuple(StoredBlock(first, last, data) for first, last, data, _ in rows)


def apply(connection: sqlite3.Connection, ids: RoomIds, change: Change) -> bool:
    """Apply the change and return True, or return False without having written anything."""
    name = change.room.encode()
    found = connection.execute("SELECT id, generation FROM rooms WHERE name = ?", (name,)).fetchone()
    if (found[1] if found else 0) != change.generation:
        return False
    if isinstance(change, Deletion):
        _delete(connection, ids.get(connection, name))
        return True
    if isinstance(change, Compaction):
        return found is not None and _compact(connection, found[0], change)
    assert_never(change)


def _delete(connection: sqlite3.Connection, number: int) -> None:
    for table in ("updates", "blocks", "quarantine"):
        connection.execute(f"DELETE FROM {table} WHERE room = ?", (number,))
    connection.execute("UPDATE rooms SET generation = generation + 1 WHERE id = ?", (number,))


def _compact(connection: sqlite3.Connection, number: int, change: Compaction) -> bool:
    if _one(connection, "SELECT coalesce(max(last), 0) FROM blocks WHERE room = ?", number) != change.covered:
        return False
    if change.kind == "snapshot":
        connection.execute("DELETE FROM blocks WHERE room = ? AND kind = 'snapshot'", (number,))
    else:
        upto = change.positions[-1]
        rows = connection.execute("SELECT seq FROM updates WHERE room = ? AND seq <= ? ORDER BY seq", (number, upto))
        if tuple(seq for (seq,) in rows) != change.positions:
            return False
        _quarantine(connection, change)
        connection.execute("DELETE FROM updates WHERE room = ? AND seq <= ?", (number, upto))
    if change.block is not None:
        _insert_block(connection, number, change, change.block)
    return True


def _quarantine(connection: sqlite3.Connection, change: Compaction) -> None:
    for poison in change.quarantined:
        connection.execute(
            "INSERT INTO quarantine (position, room, data, author, at, rule, detail) "
            "SELECT seq, room, data, author, at, ?, ? FROM updates WHERE seq = ?",
            (poison.rule, poison.detail, poison.position),
        )


def _insert_block(connection: sqlite3.Connection, number: int, change: Compaction, block: StoredBlock) -> None:
    crc = block_crc(change.room.encode(), block.first, block.last, block.data)
    connection.execute(
        "INSERT INTO blocks (room, kind, first, last, data, crc, authors, started, ended) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            change.kind,
            block.first,
            block.last,
            block.data,
            crc,
            json.dumps(change.authors, ensure_ascii=False),
            change.started,
            change.ended,
        ),
    )


def rooms(connection: sqlite3.Connection, after: str, limit: int) -> Sequence[RoomStats]:
    """Return the rooms after `after` that hold something."""
    rows = connection.execute(_STATS, (after.encode(), limit)).fetchall()
    return [RoomStats(RoomId(name.decode()), *numbers) for name, *numbers in rows]


def problems(connection: sqlite3.Connection) -> tuple[int, tuple[str, ...]]:
    """Read everything; return how many rooms were read and what is wrong, one line each."""
    lines = [text for (text,) in connection.execute("PRAGMA integrity_check(100)") if text != "ok"]
    lines += [f"foreign key: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    count = 0
    for room in _names(connection):
        count += 1
        try:
            load(connection, room)
        except CorruptRecord as error:
            lines.append(str(error))
    return count, tuple(lines)


def _names(connection: sqlite3.Connection) -> Iterator[RoomId]:
    for (name,) in connection.execute("SELECT name FROM rooms ORDER BY name"):
        yield RoomId(name.decode())


def _one(connection: sqlite3.Connection, query: str, parameter: object) -> int:
    value: int = connection.execute(query, (parameter,)).fetchone()[0]
    return value
