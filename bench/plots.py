"""The plots of the report, as SVG. They need matplotlib, which nothing else does: `make compare` installs it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.results import Results

COLOURS: Final = {
    "syncd": "#d62728",
    "syncd-compiled": "#8c1d18",
    "y-websocket": "#1f77b4",
    "hocuspocus": "#2ca02c",
    "pycrdt-websocket": "#9467bd",
    "y-sweet": "#ff7f0e",
    "relay": "#7f7f7f",
}
SERIES: Final[Mapping[str, tuple[str, str, Sequence[str]]]] = {
    "readers": (
        "connections in the room, ten of them writing",
        "clients",
        ("room-10", "room-50", "room-200", "room-1000"),
    ),
    "writers": (
        "writers among 200 connections, one edit a second each",
        "writers",
        ("writers-10", "writers-50", "all-writers"),
    ),
    "rooms": ("rooms of four writers", "rooms", ("rooms-10", "rooms-100", "small-rooms")),
}
"""Plot -> (label of the axis, value of the configuration, scenarios)."""
OPENING: Final = ("open-paper", "open-4mb", "open-20mb")
RAMP: Final = "saturation"


def unavailable() -> str | None:
    """Why no plots can be drawn; None if they can."""
    if importlib.util.find_spec("matplotlib") is None:
        return "matplotlib is not installed (make compare installs it)"
    return None


def draw(results: Results, folder: Path) -> dict[str, Path]:
    """Draw every plot that has data into `folder`; return their titles and files."""
    import matplotlib as mpl

    mpl.use("svg")
    # Text as text, and the same bytes for the same data.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 10, "axes.grid": True})
    mpl.rcParams.update({"grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False})
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Path] = {}
    for name, (label, value, scenarios) in SERIES.items():
        title = f"Server CPU per million deliveries against {name}"
        points = {server: cost_points(results, server, scenarios, value) for server in COLOURS}
        axis = (label, "CPU seconds per million deliveries")
        if _panels(folder / f"{name}.svg", [(title, *axis, points)]):
            drawn[title] = folder / f"{name}.svg"
    for title, file, panels in (
        ("Latency and CPU against load", "load.svg", _load_panels(results)),
        ("CPU of opening a document against its size", "opening.svg", _opening_panels(results)),
    ):
        if _panels(folder / file, panels):
            drawn[title] = folder / file
    return drawn


Points = Mapping[str, Sequence[tuple[float, ...]]]
"""Server -> (x, median) or (x, median, least, greatest)."""
Panel = tuple[str, str, str, Points]


def cost_points(results: Results, server: str, scenarios: Sequence[str], value: str) -> list[tuple[float, ...]]:
    """(value of the configuration, CPU s per million: median, least, greatest) of each scenario that was run."""
    found: list[tuple[float, ...]] = []
    for scenario in scenarios:
        spread = results.spread(scenario, server, "cpu_per_million") if scenario in results.data["scenarios"] else None
        if spread is not None:
            at = float(results.data["scenarios"][scenario]["load"].get(value, 1))
            found.append((at, spread.median, spread.low, spread.high))
    return found


def ramp_points(results: Results, server: str, figure: str) -> list[tuple[float, float]]:
    """(offered deliveries/s, figure), the median of the runs for each step that has it."""
    by_rate: dict[float, list[tuple[float, float]]] = {}
    for run in results.runs(RAMP, server):
        for step in run["raw"]["steps"]:
            if step[figure] is not None:
                by_rate.setdefault(step["rate"], []).append((step["offered"], step[figure]))
    return [
        (median(offered for offered, _ in found), median(value for _, value in found))
        for _, found in sorted(by_rate.items())
    ]


def _load_panels(results: Results) -> list[Panel]:
    offered = "offered load, deliveries per second"
    figures = (
        ("p50", "Latency, median", "ms"),
        ("p99", "Latency, p99", "ms"),
        ("cpu", "Server CPU", "cores"),
        ("delivered", "Deliveries", "deliveries per second"),
    )
    return [
        (title, offered, unit, {server: ramp_points(results, server, figure) for server in COLOURS})
        for figure, title, unit in figures
    ]


def _opening_panels(results: Results) -> list[Panel]:
    figures = (
        ("warm_cpu", "Full sync of an open document"),
        ("pending_cpu", "Full sync after a keystroke"),
        ("catchup_cpu", "Client one edit behind"),
        ("cold_cpu", "First sync after a restart"),
    )
    return [
        (title, "document, MB", "CPU ms", {server: _opening(results, server, figure) for server in COLOURS})
        for figure, title in figures
    ]


def _opening(results: Results, server: str, figure: str) -> list[tuple[float, ...]]:
    found: list[tuple[float, ...]] = []
    for scenario in OPENING:
        cost, size = results.spread(scenario, server, figure), results.spread(scenario, server, "document")
        if cost is not None and size is not None:
            found.append((size.median / 1e6, cost.median, cost.low, cost.high))
    return found


def _panels(path: Path, panels: Sequence[Panel]) -> bool:
    """Draw panels side by side, two in a row, with logarithmic axes; False when there is nothing to draw."""
    if not any(points for *_, by_server in panels for points in by_server.values()):
        return False
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.6 * columns + 1.6, 4.0 * rows), layout="constrained")
    handles: dict[str, Any] = {}
    for position, panel in enumerate(panels, 1):
        handles |= _draw_panel(figure.add_subplot(rows, columns, position), panel)
    figure.legend(list(handles.values()), list(handles), loc="outside right upper", frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    return True


def _draw_panel(axes: Any, panel: Panel) -> dict[str, Any]:
    title, x_label, y_label, by_server = panel
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_plain())
        axis.set_minor_formatter(_plain(digits="25"))
    handles = {}
    for server, points in by_server.items():
        shown = [(x, y) for x, y, *_ in points if x > 0 and y > 0]
        for x, _, *between in points:
            if between and between[0] > 0:
                axes.plot((x, x), between, color=COLOURS[server], linewidth=3, alpha=0.35)
        if shown:
            style = ":" if server == "relay" else "-"
            (line,) = axes.plot(*zip(*shown, strict=True), style, marker="o", markersize=4, color=COLOURS[server])
            handles[server] = line
    return handles


def _plain(digits: str = "123456789") -> Callable[[float, int], str]:
    """Tick labels without powers of ten: 0.1, 10, 20k; only those that begin with one of the digits."""

    def label(value: float, _: int) -> str:
        if f"{value:e}"[0] not in digits:
            return ""
        if value >= 1e6:
            return f"{value / 1e6:g}M"
        return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"

    return label
