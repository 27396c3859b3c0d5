"""The tables of the report: which figures a kind of scenario shows, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.results import Results, Spread
from bench.scenarios.settings import Scenario

RELAY: Final = "relay"
REFERENCES: Final = ("y-websocket", "hocuspocus")
MEBI: Final = 1 << 20
DASH: Final = "–"


def number(value: float) -> str:
    """Three significant digits, no exponent, thousands separated."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def mebibytes(value: float) -> str:
    """Bytes as MiB."""
    return number(value / MEBI)


def percent(value: float) -> str:
    """A share of one, not rounded up to all."""
    return "100 %" if value >= 1 else f"{min(value * 100, 99.99):.2f} %"


@dataclass(frozen=True, slots=True)
class Column:
    """One figure in a table.

    Attributes:
        worst: show the greatest of the runs instead of the median: what must not happen even once.
    """

    metric: str
    title: str
    write: Callable[[float], str] = number
    worst: bool = False


CHECKS: Final = (
    Column("closed", "closed", worst=True),
    Column("gaps", "gaps", worst=True),
    Column("duplicates", "duplicates", worst=True),
)
COLUMNS: Final[Mapping[str, Sequence[Column]]] = {
    "load": (
        Column("deliveries", "deliveries"),
        Column("delivered", "arrived", percent),
        Column("cpu_per_million", "CPU s per million deliveries"),
        Column("p50", "p50 ms"),
        Column("p99", "p99 ms"),
        Column("saved_p50", "saved p50 ms"),
        Column("saved_p99", "saved p99 ms"),
        Column("seen_saved_p50", "seen is saved, p50 ms"),
        Column("seen_saved_p99", "seen is saved, p99 ms"),
        Column("saves_per_second", "saves/s"),
        Column("memory", "memory MiB", mebibytes),
        *CHECKS,
    ),
    "presence": (
        Column("deliveries", "states received"),
        Column("delivered", "of those sent", percent),
        Column("cpu_per_million", "CPU s per million states received"),
        Column("p50", "p50 ms"),
        Column("p99", "p99 ms"),
        Column("memory", "memory MiB", mebibytes),
        CHECKS[0],
    ),
    "idle": (
        Column("connected", "connected"),
        Column("connect_seconds", "seconds to connect"),
        Column("connect_cpu", "CPU s to connect"),
        Column("memory_per_connection", "bytes per connection"),
        Column("idle_cpu", "CPU while idle", percent),
        Column("memory", "memory MiB", mebibytes),
    ),
    "rooms": (
        Column("connected", "connected"),
        Column("memory_per_room", "bytes per room"),
        Column("memory_per_connection", "bytes per connection"),
        Column("memory_per_room_with_one", "bytes per room with its first connection"),
        Column("idle_cpu", "CPU while idle", percent),
        Column("memory", "memory MiB", mebibytes),
    ),
    "open": (
        Column("warm_cpu", "warm, CPU ms"),
        Column("pending_cpu", "after a keystroke, CPU ms"),
        Column("catchup_cpu", "one edit behind, CPU ms"),
        Column("catchup_bytes", "bytes sent then"),
        Column("cold_cpu", "after a restart, CPU ms"),
        Column("cold_seconds", "seconds then"),
        Column("memory", "memory MiB", mebibytes),
    ),
    "join": (
        Column("joined", "joined"),
        Column("join_cpu", "CPU ms each"),
        Column("join_p50", "synced, p50 ms"),
        Column("join_max", "synced, last ms"),
        Column("probe_p99", "other room, p99 ms"),
        Column("probe_max", "other room, longest ms"),
        Column("memory", "memory MiB", mebibytes),
        CHECKS[0],
    ),
    "ramp": (
        Column("sustained", "sustained deliveries/s"),
        Column("p99", "p99 ms there"),
        Column("cpu_per_million", "CPU s per million deliveries there"),
        Column("beyond_p99", "p99 ms beyond"),
        Column("memory", "memory MiB", mebibytes),
        CHECKS[0],
    ),
}
COMPARED: Final[Mapping[str, str]] = {
    "load": "cpu_per_million",
    "presence": "cpu_per_million",
    "idle": "connect_cpu",
    "rooms": "memory_per_room",
    "open": "warm_cpu",
    "join": "join_cpu",
    "ramp": "sustained",
}
"""The figure of each kind by which servers are set in proportion; see `compared`."""
MORE_IS_BETTER: Final = frozenset({"sustained", "delivered", "saves_per_second"})


def compared(scenario: Scenario) -> str:
    """The figure by which servers are set in proportion in a scenario."""
    if scenario.kind == "idle" and scenario.options.get("hold"):
        return "memory_per_connection"  # connections that are kept are there for that
    return COMPARED[scenario.kind]


def title_of(kind: str, metric: str) -> str:
    """What the tables of a kind call a figure, with its unit."""
    return next((column.title for column in COLUMNS[kind] if column.metric == metric), metric)


def written(spread: Spread | None, write: Callable[[float], str] = number) -> str:
    """A median with its range, a dash for nothing."""
    if spread is None:
        return DASH
    middle = write(spread.median)
    low, high = write(spread.low), write(spread.high)
    return middle if spread.count == 1 or low == high == middle else f"{middle} ({low}–{high})"


def table(rows: Sequence[Sequence[str]], text: int = 1) -> list[str]:
    """Markdown lines of a table whose first row is its head; the columns after the first `text` ones are numbers."""
    head, *body = rows
    rule = [":---" if position < text else "---:" for position in range(len(head))]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *body)]


def scenario_table(results: Results, scenario: Scenario, own: Sequence[str]) -> list[str]:
    """All servers in one scenario; columns in which nobody has a value are left out."""
    servers = results.servers(scenario.name)
    columns = [
        column
        for column in COLUMNS[scenario.kind]
        if any(results.spread(scenario.name, server, column.metric) for server in servers)
    ]
    ratios = _ratio_titles(results, scenario, servers, own)
    rows = [["server", *(column.title for column in columns), *ratios]]
    for server in servers:
        cells = [_cell(results, scenario.name, server, column) for column in columns]
        cells += [_ratio(results, scenario, server, title, own) for title in ratios]
        rows.append([_with_marks(results, scenario.name, server), *cells])
    return table(rows)


def best_other(results: Results, scenario: Scenario, own: Sequence[str]) -> str | None:
    """The best of the others by the figure of the kind.

    The relay is no server and does not count, nor does one that did not deliver what was expected of it.
    """
    metric = compared(scenario)
    found = {
        server: spread.median
        for server in results.servers(scenario.name)
        if server not in (*own, RELAY)
        and _delivers(results, scenario.name, server)
        and (spread := results.spread(scenario.name, server, metric)) is not None
    }
    if not found:
        return None
    return (max if metric in MORE_IS_BETTER else min)(found, key=lambda server: found[server])


def _delivers(results: Results, scenario: str, server: str) -> bool:
    spread = results.spread(scenario, server, "delivered")
    return spread is None or spread.median >= results.data["marks"]["delivered"]


def _ratio_titles(results: Results, scenario: Scenario, servers: Sequence[str], own: Sequence[str]) -> list[str]:
    titles = [f"× {name}" for name in (*REFERENCES, RELAY) if name in servers and len(servers) > 1]
    return [*titles, "× best other"] if best_other(results, scenario, own) else titles


def _ratio(results: Results, scenario: Scenario, server: str, title: str, own: Sequence[str]) -> str:
    other: str | None = title.removeprefix("× ")
    if other == "best other":
        other = best_other(results, scenario, own) if server in own else None
    if other is None or other == server:
        return DASH
    name = scenario.name
    return written(results.ratio((name, server), (name, other), compared(scenario)))


def _cell(results: Results, scenario: str, server: str, column: Column) -> str:
    spread = results.spread(scenario, server, column.metric)
    if spread is not None and column.worst:
        return column.write(spread.high)
    return written(spread, column.write)


def _with_marks(results: Results, scenario: str, server: str) -> str:
    letters = sorted({letter for run in results.runs(scenario, server) for letter in run["marks"]})
    return f"{server} **{''.join(letters)}**" if letters else server
