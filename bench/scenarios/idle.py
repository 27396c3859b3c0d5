"""Connections that say nothing: accepting them, keeping them."""

from __future__ import annotations

import time

from bench.outcome import Outcome
from bench.scenarios import generator
from bench.scenarios.context import Context, rooms_of

SETTLE = 1.0
"""Seconds after the last connection before memory is read."""


def run_idle(context: Context) -> Outcome:
    """Open connections, hold them, and see what that took."""
    wanted, clients = int(context.option("connections")), int(context.option("clients"))
    rooms = max(1, wanted // clients)
    load = {
        "rooms": rooms,
        "clients": clients,
        "room": context.room,
        "connect_rate": 20000,
        "writers": 0,
        "rate": 0,
        "connect_timeout": 120,
    }
    context.start(rooms_of(load, context.room))
    server, hold = context.server, float(context.option("hold"))
    before = server.memory()
    with generator.held(generator.configuration(server, context.targets(), load), context.folder) as held:
        found = {"connected": float(held.connected), "connect_seconds": held.seconds, "connect_cpu": held.cpu}
        if hold > 0:
            time.sleep(SETTLE)
            memory = server.memory()
            used, began = server.cpu(), time.perf_counter()
            time.sleep(hold)
            found["idle_cpu"] = (server.cpu() - used) / (time.perf_counter() - began)
            found["memory"] = memory
            if held.connected:
                found["memory_per_connection"] = (memory - before) / held.connected
    letters = ("X",) if held.connected < rooms * clients else ()
    return Outcome(found, letters)
