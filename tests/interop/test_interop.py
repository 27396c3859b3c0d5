"""Runs the Node scripts of this folder; each is a file of Node's own test runner.

One alone, against a server that is already running: `SYNCD_URL=ws://127.0.0.1:8000/ws node --test js/wire.test.mjs`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.server import ServerProcess

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("node") is None and "CI" not in os.environ, reason="node is not installed"),
    pytest.mark.skipif(not (HERE / "node_modules").exists(), reason="run `npm ci` in tests/interop first"),
]

SECONDS = {"access": 120, "crowd": 120, "restart": 180, "wire": 120}


def _run(script: str, server: ServerProcess, seconds: int) -> None:
    command = ["node", "--test", "--test-force-exit", "--test-reporter=spec", f"js/{script}.mjs"]
    environment = {**os.environ, "SYNCD_URL": server.url, "SYNCD_PYTHON": sys.executable}
    done = subprocess.run(
        command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\nserver:\n{server.tail()}"
    assert "fail 0" in done.stdout
    assert "pass 0" not in done.stdout, "the script ran no test"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("script", sorted(path.name.removesuffix(".test.mjs") for path in HERE.glob("js/*.test.mjs")))
def test_clients(server: ServerProcess, script: str) -> None:
    """Every test of the script passes."""
    _run(f"{script}.test", server, SECONDS.get(script, 60))


@pytest.mark.slow
def test_idle_clients_stay_connected(server: ServerProcess) -> None:
    """Seventy seconds of silence."""
    _run("idle.slow", server, 110)
