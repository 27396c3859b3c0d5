"""What a node counts, and how Prometheus sees it.

The hot path does `stats.updates_in += 1` on a slotted object and nothing else: no locks, no labels, no clock. Names,
help texts and units are attached when somebody scrapes. `CATALOGUE` is the one list of all metrics.
"""

import platform
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import crdt.update
from syncd import __version__

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


Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One metric: the attribute of `Stats` it shows, its name and help text; a dict has one sample per `label`."""

    attribute: str
    name: str
    kind: Kind
    help: str
    label: str = ""


def _counter(attribute: str, name: str, text: str, label: str = "") -> Entry:
    return Entry(attribute, f"syncd_{name}_total", "counter", text, label)


def _gauge(attribute: str, name: str, text: str) -> Entry:
    return Entry(attribute, f"syncd_{name}", "gauge", text)


def _histogram(attribute: str, name: str, text: str) -> Entry:
    return Entry(attribute, f"syncd_{name}", "histogram", text)


CATALOGUE: tuple[Entry, ...] = (
    _gauge("rooms", "rooms", "Rooms in memory."),
    _gauge("connections", "connections", "Open websocket connections."),
    _gauge("slow_readers", "slow_readers", "Connections that are behind and receive no single updates at the moment."),
    _gauge("held_bytes", "held_bytes", "Bytes of updates that wait for what they build on."),
    _gauge("unsaved_updates", "unsaved_updates", "Updates applied but not yet durable."),
    _gauge("save_lag_last", "save_lag_last_seconds", "Age of the oldest update in the batch that was saved last."),
    _gauge("draining", "draining", "1 while the node is shutting down."),
    _counter("connections_opened", "connections_opened", "Websocket connections accepted."),
    _counter("handshakes_refused", "handshakes_refused", "Upgrade requests answered with an HTTP error."),
    _counter(
        "half_open_dropped", "half_open_dropped", "Sockets dropped because their request was not complete in time."
    ),
    _counter(
        "slow_readers_closed", "slow_readers_closed", "Connections closed because they took nothing for too long."
    ),
    _counter("closes", "closes", "Connections ended, by close code.", label="code"),
    _counter("messages_in", "messages_in", "Messages received from clients."),
    _counter("bytes_in", "bytes_in", "Payload bytes received from clients."),
    _counter("frames_out", "frames_out", "Messages sent to clients, one websocket frame each."),
    _counter("bytes_out", "bytes_out", "Payload bytes sent to clients."),
    _counter("unknown_messages", "unknown_messages", "Messages of a type this server does not know, ignored."),
    _counter("updates_in", "updates_in", "Updates accepted from clients."),
    _counter("updates_out", "updates_out", "Updates delivered to clients (one per reader)."),
    _counter("updates_deduplicated", "updates_deduplicated", "Updates dropped because all of it was known."),
    _counter("updates_held", "updates_held", "Updates held back because what they build on had not arrived."),
    _counter("updates_forbidden", "updates_forbidden", "Updates refused because the sender may not write."),
    _counter("refused", "refused", "Pieces of clients' bytes refused, by the rule they broke.", label="rule"),
    _counter("flushes", "flushes", "Flushes of a room to its readers."),
    _counter("flush_bytes", "flush_bytes", "Bytes of merged updates flushed (counted once, not per reader)."),
    _counter("flush_readers", "flush_readers", "Readers reached by flushes, summed over all flushes."),
    _counter("syncs", "syncs", "State vectors answered."),
    _counter("catch_ups", "catch_ups", "Slow readers brought up to date with one diff."),
    _counter("presence_in", "presence_in", "Presence states accepted from clients."),
    _counter("presence_out", "presence_out", "Presence states delivered to clients."),
    _counter(
        "presence_dropped", "presence_dropped", "Presence states dropped: echoes, stale, or not the sender's own."
    ),
    _counter("saved_barriers", "saved_barriers", "Saved acknowledgements sent to clients that ask for them."),
    _counter("log_batches", "log_batches", "Transactions that saved updates."),
    _counter("log_records", "log_records", "Records saved."),
    _counter("log_bytes", "log_bytes", "Bytes of updates saved."),
    _counter("log_failures", "log_failures", "Attempts to save that failed."),
    _histogram("save_lag", "save_lag_seconds", "Time from the oldest update of a batch to its being durable."),
    _counter("loads", "loads", "Rooms loaded from the store."),
    _counter("load_failures", "load_failures", "Rooms that could not be loaded."),
    _counter("unloads", "unloads", "Rooms dropped from memory after they were empty for a while."),
    _histogram("load_time", "load_seconds", "Time to load a room."),
    _counter("compactions", "compactions", "Compactions committed."),
    _counter("compaction_failures", "compaction_failures", "Compactions that failed."),
    _counter("compacted_updates", "compacted_updates", "Updates merged into blocks."),
    _counter("compacted_bytes", "compacted_bytes", "Bytes of blocks written."),
    _counter("quarantined_updates", "quarantined_updates", "Updates set aside because they cannot be merged."),
    _counter(
        "unloadable_snapshots",
        "unloadable_snapshots",
        "Snapshots that no document engine loads; editing goes on, exports of the room fail.",
    ),
)

BUILD_INFO = "syncd_build_info"


def build_facts() -> dict[str, str]:
    """Version of this server and of what it runs on; `compiled` says whether `crdt` runs as machine code."""
    try:
        pycrdt = version("pycrdt")
    except PackageNotFoundError:  # a vendored copy has no metadata; the server works all the same
        pycrdt = "unknown"
    compiled = not (crdt.update.__file__ or "").endswith(".py")
    return {
        "version": __version__,
        "python": platform.python_version(),
        "pycrdt": pycrdt,
        "compiled": "true" if compiled else "false",
    }


class StatsCollector(Collector):
    """Turns a `Stats` into metrics at the moment of a scrape."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """One family per entry of `CATALOGUE`, then the build."""
        for entry in CATALOGUE:
            yield _family(entry, getattr(self._stats, entry.attribute))
        yield InfoMetricFamily(BUILD_INFO.removesuffix("_info"), "Versions of this build.", value=build_facts())


def _family(entry: Entry, value: int | float | dict[str, int] | dict[int, int] | Histogram) -> Metric:
    if isinstance(value, Histogram):
        return HistogramMetricFamily(entry.name, entry.help, buckets=_buckets(value), sum_value=value.total)
    if isinstance(value, dict):
        family = CounterMetricFamily(entry.name, entry.help, labels=[entry.label])
        for key, count in sorted(value.items(), key=lambda item: str(item[0])):
            family.add_metric([str(key)], count)
        return family
    if entry.kind == "gauge":
        return GaugeMetricFamily(entry.name, entry.help, value=value)
    return CounterMetricFamily(entry.name, entry.help, value=value)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    seen = 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        seen += count
        buckets.append((bound, seen))
    return buckets


def registry(stats: Stats, extra: Iterable[Collector] = ()) -> CollectorRegistry:
    """A registry of its own for one node (several nodes may live in one process): its stats, the process and the GC."""
    result = CollectorRegistry()
    for collector in (StatsCollector(stats), *extra):
        result.register(collector)
    ProcessCollector(registry=result)
    GCCollector(registry=result)
    return result


def exposition(metrics: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The body and content type of a scrape, in the format that the ``Accept`` header asks for."""
    encoder, content_type = choose_encoder(accept)
    return encoder(metrics), content_type
