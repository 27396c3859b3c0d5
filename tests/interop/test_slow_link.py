"""A large document over a slow link: a stock client gets it in one go, without losing patience and reconnecting."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from bench.big_document import feed
from bench.process import Syncd
from bench.relay import Relay

SCRIPT = Path(__file__).parent / "js" / "slow-link.mjs"
RATE = 2_000_000 / 8
MEGABYTES = float(os.environ.get("SYNCD_SLOW_LINK_MB", "10"))
"""At this rate the whole takes longer than the 30 s that a y-websocket client waits for a message."""


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_large_document_arrives_over_a_slow_link(tmp_path: Path) -> None:
    with Syncd(tmp_path, {"SYNCD_LOG_LEVEL": "warning"}) as server:
        await feed(server.url("big"), MEGABYTES)
        host, _, port = server.address.partition(":")
        relay = Relay(host, int(port), RATE)
        slow = await relay.start()
        limit = MEGABYTES * 1e6 / RATE * 3 + 30
        node = await asyncio.create_subprocess_exec(
            "node", str(SCRIPT), f"ws://127.0.0.1:{slow}/ws", "big", str(limit), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await node.communicate()
        await relay.stop()
    report = json.loads(output)
    print(report)  # noqa: T201 - the figures are for people who look
    assert report["synced"] == 1, report
    assert report["connected"] == 1, report
    assert report["disconnected"] == 0, report
    assert relay.connections == 1
    assert not report["pending"], report
    assert report["length"] > MEGABYTES * 1e6 * 0.5
    assert relay.forwarded > 30 * RATE, "the document is too small to try anybody's patience"
