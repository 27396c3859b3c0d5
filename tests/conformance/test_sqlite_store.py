"""The SQLite store against the suite. The raw helpers use a connection of their own."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from persistence.sqlite import SqliteStore
from tests.conformance.store_suite import Backend, RawBlock, StoreSuite


class SqliteBackend(Backend):
    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> SqliteStore:
        return await SqliteStore.open(self.path)

    def query(self, sql: str, room: str) -> Sequence[Any]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, (room.encode(),)).fetchall()

    async def raw_updates(self, room: str) -> Sequence[tuple[int, bytes]]:
        return self.query(
            "SELECT seq, data FROM updates WHERE room = (SELECT id FROM rooms WHERE name = ?) ORDER BY seq", room
        )

    async def raw_blocks(self, room: str) -> Sequence[RawBlock]:
        rows = self.query(
            "SELECT kind, first, last, data, authors, started, ended FROM blocks "
            "WHERE room = (SELECT id FROM rooms WHERE name = ?) ORDER BY last, kind",
            room,
        )
        return [
            RawBlock(kind, first, last, data, tuple(json.loads(authors)), started, ended)
            for kind, first, last, data, authors, started, ended in rows
        ]

    async def raw_quarantine(self, room: str) -> Sequence[tuple[int, bytes, str]]:
        return self.query(
            "SELECT position, data, rule FROM quarantine WHERE room = (SELECT id FROM rooms WHERE name = ?) "
            "ORDER BY position",
            room,
        )

    async def damage(self, room: str, what: Literal["update", "block"]) -> None:
        table, order = ("updates", "seq") if what == "update" else ("blocks", "last")
        where = f"room = (SELECT id FROM rooms WHERE name = ?1) ORDER BY {order} DESC LIMIT 1"
        with closing(sqlite3.connect(self.path)) as connection, connection:
            data = connection.execute(f"SELECT data FROM {table} WHERE {where}", (room.encode(),)).fetchone()[0]
            flipped = bytes([data[0] ^ 1]) + data[1:]
            chosen = f"rowid = (SELECT rowid FROM {table} WHERE {where})"
            connection.execute(f"UPDATE {table} SET data = ?2 WHERE {chosen}", (room.encode(), flipped))


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return SqliteBackend(tmp_path / "syncd.db")
