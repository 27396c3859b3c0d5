"""What a node counts, and how Prometheus sees it.

The hot path does `stats.updates_in += 1` on a slotted object and nothing else: no locks, no labels, no clock. Names,
help texts and units are attached when somebody scrapes. `CATALOGUE` is the one list of all metrics.
"""

import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
from syncd.stats import Histogram as Histogram
from syncd.stats import Stats as Stats

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
