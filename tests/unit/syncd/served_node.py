"""A server process around a node that only records; run as a module by `test_server`.

Arguments: the port, and how the node behaves. Each call of the node is printed as a line.
"""

import asyncio
import sys

from starlette.types import Receive, Scope, Send

from syncd import server
from syncd.link import Handshake, Link
from syncd.metrics import Stats
from syncd.sockets import SocketLimits
from tests.unit.syncd.endpoint_rig import Admission, RecordingConnection, RecordingNode


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class ServedNode(RecordingNode):
    """Its `behaviour` says what goes wrong."""

    behaviour = ""
    failed: asyncio.Event

    async def start(self) -> None:
        say("start")
        self.failed = asyncio.Event()
        if self.behaviour == "cannot start":
            raise RuntimeError("planted")

    def connect(self, link: Link, handshake: Handshake, admission: Admission) -> RecordingConnection:
        if self.behaviour == "fails":
            self.failed.set()
        return super().connect(link, handshake, admission)

    async def drain(self) -> None:
        say("drain")
        if self.behaviour == "stuck":
            await asyncio.Event().wait()
        if self.behaviour == "broken drain":
            raise RuntimeError("planted")
        for connection in self.connections:
            connection.link.close(1013 if self.failed.is_set() else 1012, "")

    async def stop(self) -> None:
        say("stop")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"late"})


def main() -> int:
    node = ServedNode()
    node.behaviour = sys.argv[2]
    server.DRAIN_SLACK = 0.0
    served = server.make_server(
        node,
        app,
        Stats(),
        SocketLimits(max_sockets=100),
        port=int(sys.argv[1]),
        drain_timeout=600 if sys.argv[3:] else 0.3,
    )
    return server.serve(served)


if __name__ == "__main__":
    sys.exit(main())
