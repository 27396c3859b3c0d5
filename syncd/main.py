"""One server process: a node, its HTTP side and the server around both."""

from collections.abc import Mapping

from persistence.errors import StoreError
from syncd import metrics
from syncd.config import Settings
from syncd.http import Part, create_app
from syncd.node import Node
from syncd.server import Server, make_server, serve
from syncd.sockets import SocketLimits


def build(settings: Settings) -> Server:
    """Put a server together; nothing is opened yet."""
    node = Node(settings)

    async def readiness() -> Mapping[str, Part]:
        try:
            store = Part(True, await node.store_ready())
        except StoreError as error:
            store = Part(False, str(error))
        accepting = not node.draining and not node.failed.is_set()
        return {"store": store, "accepting": Part(accepting, "" if accepting else "the server is stopping")}

    app = create_app(readiness, metrics.registry(node.stats), prefix=settings.prefix, web=settings.web)
    limits = SocketLimits(
        max_message=settings.max_message,
        outbox_high=settings.outbox_high,
        outbox_low=settings.outbox_low,
        handshake_timeout=settings.handshake_timeout,
        max_sockets=settings.max_connections + 1000,
    )
    return make_server(
        node,
        app,
        node.stats,
        limits,
        host=settings.host,
        port=settings.port,
        drain_timeout=settings.drain_timeout,
    )


def run(settings: Settings) -> int:
    """Serve until a signal or a failure; returns the exit code."""
    return serve(build(settings))
