"""The server process around a node: listening, signals, and a stop in stages. Reads top to bottom in `Server.run`."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any, Protocol, cast

import uvicorn
from starlette.types import ASGIApp

from syncd.arrival import Arrivals
from syncd.metrics import Stats
from syncd.sockets import SocketLimits, SocketNode, SocketTable

logger = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_CANNOT_START = 3
SHUTDOWN_SECONDS = 5
"""What uvicorn gives requests that are still running when the node has drained."""
DRAIN_SLACK = 5.0
"""How much longer than its own deadline a drain may take before it is abandoned."""
FEW_SOCKETS = 10_000
"""Sockets below which an operator is warned that the limit of open files stands in the way."""
RESERVED_FILES = 256
"""File descriptors that are not for sockets: the store, pipes to child processes, logs."""


class StartError(Exception):
    """The server cannot start. The text says why, for an operator."""


class ServedNode(SocketNode, Protocol):
    """What a server needs of `syncd.node.Node`, besides what the endpoint needs."""

    @property
    def failed(self) -> "asyncio.Event | asyncio.Future[Any]":
        """Set or done when the node cannot go on, for example because its store failed."""
        ...

    async def start(self) -> None: ...
    async def drain(self) -> None: ...
    async def stop(self) -> None: ...


def raise_file_limit(wanted: int) -> int:
    """Raise the limit of open files to `wanted` or what the system allows; returns the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        with contextlib.suppress(ValueError, OSError):  # only root may
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        return target
    return wanted if soft == resource.RLIM_INFINITY else soft


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address of `host`; with port 0 all get the same free port.

    Raises StartError if the host is unknown or the port is taken.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartError(f"cannot listen on {host}: {error.strerror}") from error
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        chosen = sockets[0].getsockname()[1] if sockets else port
        try:
            bound.bind((address[0], chosen, *address[2:]))
        except OSError as error:
            for other in (bound, *sockets):
                other.close()
            raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        sockets.append(bound)
    return sockets


def url_of(host: str, port: int) -> str:
    """The address to show and to open."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Server(uvicorn.Server):
    """uvicorn, with the node's start before it and a staged stop after it."""

    def __init__(self, config: uvicorn.Config, node: ServedNode, drain_timeout: float) -> None:
        super().__init__(config)
        self.node = node
        self.drain_timeout = drain_timeout
        self.exit_code = 0
        self._task: asyncio.Task[None] | None = None

    async def run_node(self, announce: Callable[[str], None]) -> int:
        """Serve until a signal or a failure of the node; returns the exit code of the process.

        Raises StartError if the address cannot be had, and what `node.start` raises.
        """
        sockets = listen(self.config.host, self.config.port)  # before the node opens its store for nothing
        port = sockets[0].getsockname()[1]
        self._task = asyncio.current_task()
        with self.capture_signals(), contextlib.ExitStack() as cleanup:
            for listener in sockets:
                cleanup.callback(listener.close)
            try:
                await self._stages(sockets, lambda: announce(f"syncd is ready at {url_of(self.config.host, port)}"))
            except asyncio.CancelledError:
                logger.warning("stopped at once by a second signal; what was not saved may be lost")
                self.exit_code = EXIT_FAILED
        return self.exit_code

    async def _stages(self, sockets: list[socket.socket], ready: Callable[[], None]) -> None:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        try:
            await self.node.start()
            await self.startup(sockets)
            if not self.should_exit:
                # The garbage collector stops the loop for 30 ms to look at what was imported, whenever it looks at all.
                gc.collect()
                gc.freeze()
                # Every update leaves a few objects for good, and looking at all that is open takes 0.3 s with 2,000
                # connections. Connections and requests leave no cycles, so it need hardly ever be done.
                gc.set_threshold(5_000, 5, 1_000)
                ready()
                await self.main_loop()
            await self.shutdown(sockets)
        finally:
            await self.node.stop()  # also after half a start: whatever was opened is closed

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second; true ends the main loop."""
        failed = self.node.failed
        if failed.is_set() if isinstance(failed, asyncio.Event) else failed.done():
            logger.error("the node cannot go on and stops")
            self.exit_code = EXIT_FAILED
            return True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The staged stop: no new connections, the node's drain, then what is left of HTTP."""
        for server in self.servers:
            server.close()
        try:
            async with asyncio.timeout(self.drain_timeout + DRAIN_SLACK):
                await self.node.drain()
        except TimeoutError:
            logger.error("draining took too long and was abandoned")  # noqa: TRY400 - the traceback says nothing
            self.exit_code = EXIT_FAILED
        except Exception:
            logger.exception("draining failed")
            self.exit_code = EXIT_FAILED
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: stop in stages. Second: stop at once. Third: do not even clean up."""
        if not self.should_exit:
            self.should_exit = True
        elif not self.force_exit:
            self.force_exit = True
            if self._task is not None:
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        else:
            os._exit(128 + sig)


def make_server(
    node: ServedNode,
    app: ASGIApp,
    stats: Stats,
    limits: SocketLimits,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    drain_timeout: float = 10.0,
) -> Server:
    """A server for `node`'s websockets and `app`'s HTTP on one port (0: any free one)."""
    files = raise_file_limit(limits.max_sockets + RESERVED_FILES)
    if files - RESERVED_FILES < limits.max_sockets:
        limits = replace(limits, max_sockets=max(files - RESERVED_FILES, 1))
        few = limits.max_sockets < FEW_SOCKETS
        level = logging.WARNING if few else logging.DEBUG
        logger.log(level, "the limit of %d open files allows only %d sockets", files, limits.max_sockets)
    table = SocketTable(limits, stats)
    arrivals = Arrivals(node, table)
    # uvicorn's own lines (started, waiting, finished) say nothing that ours do not.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=cast(Any, arrivals),
        ws=cast(Any, arrivals.websocket),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=4096,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return Server(config, node, drain_timeout)


def serve(server: Server, announce: Callable[[str], None] = _say) -> int:
    """Run `server` in this process until it ends; returns the exit code. Prints one line when it is ready."""
    factory = server.config.get_loop_factory()
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(server.run_node(announce))
    except StartError as error:
        sys.stderr.write(f"syncd cannot start: {error}\n")
        return EXIT_CANNOT_START
