"""What a node counts. `syncd.metrics` says how Prometheus sees it."""

from bisect import bisect_left
from dataclasses import dataclass, field

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(slots=True)
class Histogram:
    """Counts of observed seconds per bucket (upper bounds inclusive, as Prometheus has it)."""

    bounds: tuple[float, ...] = _SECONDS
    counts: list[int] = field(default_factory=lambda: [0] * (len(_SECONDS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Adds one observation. Call it per batch, never per message."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class Stats:
    """All counters of one node. Gauges may go down, everything else only grows."""

    # gauges
    rooms: int = 0
    connections: int = 0
    slow_readers: int = 0
    held_bytes: int = 0
    unsaved_updates: int = 0
    save_lag_last: float = 0.0
    draining: int = 0

    # connections
    connections_opened: int = 0
    handshakes_refused: int = 0
    half_open_dropped: int = 0
    slow_readers_closed: int = 0
    closes: dict[int, int] = field(default_factory=dict)  # by close code sent or received

    # traffic
    messages_in: int = 0
    bytes_in: int = 0
    frames_out: int = 0
    bytes_out: int = 0
    unknown_messages: int = 0

    # updates
    updates_in: int = 0
    updates_out: int = 0
    updates_deduplicated: int = 0
    updates_held: int = 0
    updates_forbidden: int = 0
    refused: dict[str, int] = field(default_factory=dict)  # by rule of crdt.errors.ProtocolError
    flushes: int = 0
    flush_bytes: int = 0
    flush_readers: int = 0
    syncs: int = 0
    catch_ups: int = 0

    # presence
    presence_in: int = 0
    presence_out: int = 0
    presence_dropped: int = 0

    # saving
    saved_barriers: int = 0
    log_batches: int = 0
    log_records: int = 0
    log_bytes: int = 0
    log_failures: int = 0
    save_lag: Histogram = field(default_factory=Histogram)

    # rooms and compaction
    loads: int = 0
    load_failures: int = 0
    unloads: int = 0
    load_time: Histogram = field(default_factory=Histogram)
    compactions: int = 0
    compaction_failures: int = 0
    compacted_updates: int = 0
    compacted_bytes: int = 0
    quarantined_updates: int = 0
    unloadable_snapshots: int = 0

    def refuse(self, rule: str) -> None:
        """Counts one piece of a peer's bytes that broke `rule`."""
        self.refused[rule] = self.refused.get(rule, 0) + 1

    def close(self, code: int) -> None:
        """Counts one connection that ended with `code` (1006 if it just vanished)."""
        self.closes[code] = self.closes.get(code, 0) + 1
