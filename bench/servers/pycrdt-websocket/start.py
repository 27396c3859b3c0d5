"""pycrdt-websocket on uvicorn and uvloop, as its documentation shows; with --store, documents in its SQLite store.

Two things differ from the shortest example. Rooms are not deleted when their last client leaves, because two clients
that open a new room at once can block each other for ever: the benchmark opens each room once beforehand. And the
package's own exception logger is set, because otherwise a client that goes away within a message ends the server.
"""

from __future__ import annotations

import argparse
import contextlib
from logging import getLogger

import uvicorn
import uvloop
from pycrdt.store import SQLiteYStore, YDocNotFound
from pycrdt.websocket import ASGIServer, WebsocketServer, YRoom, exception_logger


class StoredRooms(WebsocketServer):
    """Rooms that load their document from a store and write each update to it."""

    def __init__(self, store: type[SQLiteYStore]) -> None:
        super().__init__(auto_clean_rooms=False, exception_handler=exception_logger)
        self._store = store

    async def get_room(self, name: str) -> YRoom:
        """The room, started and loaded."""
        if name in self.rooms:
            return await super().get_room(name)
        store = self._store(path=name)
        room = YRoom(ready=False, ystore=store, exception_handler=exception_logger, log=getLogger("rooms"))
        self.rooms[name] = room
        await self.start_room(room)
        await store.started.wait()
        with contextlib.suppress(YDocNotFound):
            await store.apply_updates(room.ydoc)
        room.ready = True
        return room


def rooms(database: str) -> WebsocketServer:
    """A server that keeps its documents in memory, or in the database when one is named."""
    if not database:
        return WebsocketServer(auto_clean_rooms=False, exception_handler=exception_logger)

    class Store(SQLiteYStore):
        db_path = database

    return StoredRooms(Store)


async def serve(host: str, port: int, database: str) -> None:
    """Serve until a signal ends it."""
    websockets = rooms(database)
    config = uvicorn.Config(ASGIServer(websockets), host=host, port=port, log_level="warning")
    async with websockets:
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", default="", help="file of the SQLite database")
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.host, arguments.port, arguments.store))
