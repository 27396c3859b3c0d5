"""The server that the Node scripts talk to."""

from collections.abc import Iterator

import pytest

from tests.interop.server import ServerProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One syncd for all scripts that neither kill nor configure it; a crash of it fails whoever meets it."""
    with ServerProcess(tmp_path_factory.mktemp("server")) as running:
        yield running
