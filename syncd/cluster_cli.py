"""`syncd cluster`: a real cluster on this machine, started and ended as plain processes. For a checkout only."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Never

import typer

from syncd.config import ENV_PREFIX

if TYPE_CHECKING:
    from deploy.local.cluster import LocalCluster

EXIT_FAILED = 1
EXIT_USAGE = 2

app = typer.Typer(
    name="cluster",
    help="Run Redis, Kafka, Postgres, nodes, workers and nginx on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[Path | None, typer.Option(help="Where it keeps everything; build/cluster unless given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def up(  # noqa: PLR0913, RUF100 - each argument is one option
    nodes: Annotated[int | None, typer.Option(min=0, help="Sync nodes; 3 unless given.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Compaction workers; 2 unless given.")] = None,
    nginx: Annotated[int | None, typer.Option(min=0, help="nginx before the nodes; 2 unless given.")] = None,
    services_only: Annotated[bool, typer.Option("--services-only", help="No nodes, workers and nginx.")] = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Start a cluster, or what does not run of it. It goes on running when this command returns.

    Nodes and workers get the SYNCD_* variables of this shell. Ctrl+C ends what has been started so far.
    """
    given = {"nodes": nodes, "workers": workers, "nginx": nginx}
    wanted = {name: number for name, number in given.items() if number is not None}
    if services_only and any(wanted.values()):
        _fail("--services-only leaves no nodes, workers and nginx to ask for", EXIT_USAGE)
    if services_only:
        wanted = dict.fromkeys(given, 0)
    elif nodes == 0:
        wanted.setdefault("nginx", 0)
    with _launcher() as launcher, _terminated_as_interrupted():
        cluster = _cluster(launcher, folder or launcher.DEFAULT_FOLDER, wanted)
        if cluster.state == "up":
            typer.echo(f"already up in {cluster.folder}", err=True)
        cluster.start()
        _show(cluster, as_json)


@app.command()
def status(
    check: Annotated[bool, typer.Option("--check", help="Also ask every service whether it works.")] = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Print every process of the cluster and what has become of it. Exit code 1 if there is no cluster."""
    with _launcher() as launcher:
        cluster = launcher.LocalCluster.open(folder or launcher.DEFAULT_FOLDER)
        _show(cluster, as_json, cluster.missing() if check else None)


@app.command()
def down(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data; `up` starts with it again.")] = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """End the cluster, and remove its data."""
    with _launcher() as launcher:
        where = (folder or launcher.DEFAULT_FOLDER).resolve()
        found = launcher.LocalCluster.exists(where)
        if found:
            launcher.LocalCluster.open(where).stop(clean=not keep)
        if as_json:
            typer.echo(json.dumps({"folder": str(where), "state": "down", "found": found}))
        else:
            typer.echo(f"the cluster in {where} is down" if found else f"there is no cluster in {where}")


@contextlib.contextmanager
def _launcher() -> Iterator[ModuleType]:
    """The launcher, imported only now: the other commands do without it, and an installed wheel does not have it."""
    try:
        from deploy.local import cluster
        from deploy.local.errors import LauncherError
    except ModuleNotFoundError as error:
        _fail(f"`syncd cluster` works in a checkout of the repository only ({error})", EXIT_FAILED)
    try:
        yield cluster
    except LauncherError as error:
        _fail(str(error), EXIT_FAILED)


def _fail(message: str, code: int) -> Never:
    typer.echo(f"syncd: {message}", err=True)
    raise typer.Exit(code)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and a closed terminal clean up as Ctrl+C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cluster(launcher: ModuleType, folder: Path, wanted: dict[str, int]) -> "LocalCluster":
    """The cluster in this folder, or a new one. Raises `LauncherError` if it has another size."""
    cluster: LocalCluster
    if not launcher.LocalCluster.exists(folder):
        settings = {name: value for name, value in os.environ.items() if name.startswith(ENV_PREFIX)}
        cluster = launcher.LocalCluster(folder, launcher.Size(**wanted), settings=settings, report=_reporter())
        return cluster
    cluster = launcher.LocalCluster.open(folder, report=_reporter())
    there = asdict(cluster.size)
    if different := [f"{number} {name}" for name, number in there.items() if wanted.get(name, number) != number]:
        _fail(f"the cluster in {folder} has {', '.join(different)}; `syncd cluster down` ends it", EXIT_FAILED)
    return cluster


def _reporter() -> Callable[[str], None]:
    began = time.monotonic()
    return lambda line: typer.echo(f"{time.monotonic() - began:6.1f} s  {line}", err=True)


def _show(cluster: "LocalCluster", as_json: bool, missing: list[str] | None = None) -> None:
    processes = cluster.processes
    if as_json:
        facts: dict[str, Any] = {"folder": str(cluster.folder), "state": cluster.state, "urls": cluster.urls}
        facts["processes"] = [asdict(each) for each in processes]
        if missing is not None:
            facts["missing"] = missing
        typer.echo(json.dumps(facts))
        return
    width = max(len(each.name) for each in processes)
    for each in processes:
        typer.echo(f"{each.name:<{width}}  {each.state:<7}  {each.pid or '-':>7}  {each.url}")
    for lacking in missing or []:
        typer.echo(f"not ready: {lacking}")
    typer.echo(f"{cluster.state}; data and logs in {cluster.folder}")
    if cluster.urls["http"]:
        typer.echo(f"open {cluster.urls['http'][0]}")
