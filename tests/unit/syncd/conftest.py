"""Event loops for the tests of the server."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

_FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A module whose tests touch sockets names the loops to run them on, each test once on each, as `LOOPS`."""
    names: tuple[str, ...] = getattr(item.module, "LOOPS", ("asyncio",))
    return {name: _FACTORIES[name] for name in names}
