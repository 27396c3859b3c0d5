"""The command line. Whatever goes wrong is one line on stderr: exit code 2 for what was asked, 1 for what happened."""

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Never

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.exceptions import TyperException

from auth.errors import KeyUnusable
from auth.tokens import Key, mint, private_key, secret_key
from crdt.errors import ProtocolError
from crdt.ids import RoomId
from persistence.api import Store
from persistence.errors import StoreError, StoreInUse, StoreUrlError
from persistence.opener import migrate as migrate_store
from persistence.sandbox import Sandbox
from syncd import __version__, logs
from syncd.cluster_cli import app as cluster_app
from syncd.config import ConfigError, Settings, load, unknown_variables
from syncd.doctor import examine
from syncd.export import (
    BINARY,
    Bounds,
    Format,
    check_rooms,
    import_update,
    load_existing,
    render,
)
from syncd.offline import all_rooms, facts_of, in_sandbox, stats_of, with_store
from syncd.room_names import BadRoomName, room_from_path

EXIT_FAILED = 1
EXIT_USAGE = 2

app = typer.Typer(
    name="syncd",
    help="A CRDT-first sync server for Yjs documents.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cluster_app, name="cluster")


class Role(StrEnum):
    """What a token lets its bearer do in a room."""

    READ = "read"
    COMMENT = "comment"
    WRITE = "write"
    OWN = "own"


class Form(StrEnum):
    """Names of `syncd.export.Format` as choices of an option."""

    UPDATE = "update"
    JSON = "json"
    TEXT = "text"
    DELTA = "delta"
    HTML = "html"
    MD = "md"


class UsageError(Exception):
    """What was asked for cannot be done as asked. Exit code 2."""


Config = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.", metavar="FILE")]
StoreUrl = Annotated[str | None, typer.Option("--store", help="URL of the store, e.g. sqlite:///syncd.db.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RoomName = Annotated[str, typer.Argument(metavar="ROOM", help="Name of the room, as in its address.")]


def main(arguments: Sequence[str] | None = None) -> Never:
    """Entry point of the `syncd` command; ends the process."""
    try:
        outcome = app(arguments, standalone_mode=False)
        code = outcome if isinstance(outcome, int) else 0
    except typer.Exit as error:
        code = error.exit_code
    except TyperException as error:
        code = _complain(error.format_message(), EXIT_USAGE)
    except typer.Abort:
        code = _complain("aborted", EXIT_FAILED)
    except (UsageError, ConfigError, StoreUrlError, BadRoomName, KeyUnusable) as error:
        code = _complain(str(error), EXIT_USAGE)
    except StoreInUse as error:
        code = _complain(f"{error}. Stop it first, or work on a copy made with SQLite's .backup", EXIT_FAILED)
    except (StoreError, ProtocolError) as error:
        code = _complain(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        code = _complain(f"{named}{error.strerror or error}", EXIT_FAILED)
    sys.exit(code)


def _complain(message: str, code: int) -> int:
    typer.echo(f"syncd: {' '.join(logs.mask(message).split())}", err=True)
    return code


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"syncd {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A CRDT-first sync server for Yjs documents."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def serve(  # noqa: PLR0913, RUF100 - each argument is one option
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 for any free one.")] = None,
    store: StoreUrl = None,
    prefix: Annotated[str | None, typer.Option(help="Path under which rooms are opened.")] = None,
    auth: Annotated[str | None, typer.Option(help="open or external.")] = None,
    allow_open_network: Annotated[
        bool, typer.Option("--allow-open-network", help="Let everyone on the network write.")
    ] = False,
    web: Annotated[bool | None, typer.Option("--web/--no-web", help="Serve the web client.")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> int:
    """Start the server. SIGTERM or Ctrl+C stops it after everything is saved."""
    settings = load(
        config,
        host=host,
        port=port,
        store=store,
        prefix=prefix,
        auth=auth,
        allow_open_network=allow_open_network or None,
        web=web,
        log_format=log_format,
        log_level=log_level,
    )
    logs.configure(settings.log_format, settings.log_level)
    for variable in unknown_variables(os.environ):
        logs.get(__name__).warning("environment variable names no setting", variable=variable)
    from syncd.main import run  # the other commands do without the server's imports

    return run(settings)


@app.command()
def migrate(config: Config = None, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Bring the store's schema up to date. The server does so itself when it starts with SQLite."""
    steps = list(migrate_store(load(config, store=store).store))
    _show({"applied": steps}, as_json, "\n".join(f"applied {step}" for step in steps) or "up to date")


@app.command()
def inspect(room: RoomName, config: Config = None, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Print what the store holds of a room."""
    name = _room(room)

    async def work(opened: Store) -> dict[str, Any]:
        return facts_of(name, await load_existing(opened, name), await stats_of(opened, name))

    facts = with_store(load(config, store=store), work)
    _show(facts, as_json, _table((key, str(value)) for key, value in facts.items() if key != "blocks"))


@app.command()
def rooms(config: Config = None, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the rooms in the store."""
    found = with_store(load(config, store=store), all_rooms)
    listed = [
        {"room": stats.room, "updates": stats.updates, "bytes": stats.update_bytes + stats.block_bytes}
        for stats in found
    ]
    _show(listed, as_json, _table((f"{item['bytes']:>12} bytes", str(item["room"])) for item in listed))


@app.command()
def export(  # noqa: PLR0913, RUF100 - each argument is one option
    room: RoomName,
    form: Annotated[Form, typer.Option("--format", help="What to write.")] = Form.UPDATE,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Instead of stdout.")] = None,
    config: Config = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write a room's document to stdout or to a file."""
    name, chosen, settings = _room(room), _format(form), load(config, store=store)
    if output is None and form in BINARY and not as_json and sys.stdout.isatty():
        raise UsageError("an update is binary: write it to a file with -o FILE, or pipe it")

    async def work(opened: Store) -> bytes:
        return await in_sandbox(lambda sandbox: _rendered(opened, sandbox, name, chosen, settings))

    data = with_store(settings, work)
    if output is not None:
        output.write_bytes(data)
        facts = {"room": name, "format": chosen, "file": str(output), "bytes": len(data)}
        _show(facts, as_json, f"{output}: {len(data)} bytes")
    elif as_json:
        content = base64.b64encode(data).decode() if form in BINARY else data.decode()
        encoding = "base64" if form in BINARY else "text"
        _show({"room": name, "format": chosen, "encoding": encoding, "content": content}, as_json, "")
    else:
        typer.echo(data, nl=form not in BINARY)


async def _rendered(store: Store, sandbox: Sandbox, room: RoomId, form: Format, settings: Settings) -> bytes:
    return await render(sandbox, await load_existing(store, room), form, _bounds(settings))


@app.command(name="import")
def import_(  # noqa: PLR0913, RUF100 - each argument is one option
    room: RoomName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Yjs update (v1), as `export` writes it.")],
    author: Annotated[str, typer.Option(help="Whom to attribute it to.")] = "import",
    config: Config = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Merge a Yjs update into a room, which may be new. Importing the same file again changes nothing."""
    name, settings = _room(room), load(config, store=store)
    if file.stat().st_size > settings.max_document_bytes:
        raise UsageError(f"{file} is larger than max_document_bytes ({settings.max_document_bytes})")
    data = file.read_bytes()

    async def work(opened: Store) -> dict[str, Any]:
        done = await in_sandbox(
            lambda sandbox: import_update(
                opened,
                sandbox,
                name,
                data,
                author,
                time.time_ns() // 1_000_000,
                settings.max_document_bytes,
                _bounds(settings),
            )
        )
        return {"room": name, "records": done.records, "bytes": done.size}

    facts = with_store(settings, work, write=True)
    added = f"{name}: {facts['bytes']} bytes added" if facts["records"] else f"{name}: nothing new"
    _show(facts, as_json, added)


@app.command()
def fsck(config: Config = None, store: StoreUrl = None, as_json: AsJson = False) -> int:
    """Read everything in the store and say what is damaged. Changes nothing; exit code 1 if there is anything."""
    settings = load(config, store=store)

    async def work(opened: Store) -> tuple[int, list[str]]:
        found = list((await opened.check(deep=True)).problems)
        listed = await all_rooms(opened)
        found += await in_sandbox(partial(check_rooms, opened, [each.room for each in listed], _bounds(settings)))
        return len(listed), list(dict.fromkeys(found))

    count, problems = with_store(settings, work)
    summary = f"{count} rooms, {len(problems)} problems" if problems else f"{count} rooms, all sound"
    _show({"rooms": count, "problems": problems}, as_json, "\n".join([*problems, summary]))
    return EXIT_FAILED if problems else 0


@app.command()
def doctor(config: Config = None, store: StoreUrl = None, as_json: AsJson = False) -> int:
    """Print the settings in force, secrets masked, and whether a server could run with them."""
    settings = load(config, store=store)
    findings = asyncio.run(examine(settings, os.environ))
    healthy = all(finding.state != "failed" for finding in findings)
    checks = [{"name": each.name, "state": each.state, "detail": each.detail} for each in findings]
    text = _table((name, str(value)) for name, value in settings.shown().items())
    text += "\n\n" + _table((f"{each.state:<8} {each.name}", each.detail) for each in findings)
    _show({"healthy": healthy, "settings": settings.shown(), "checks": checks}, as_json, text)
    return 0 if healthy else EXIT_FAILED


@app.command()
def token(  # noqa: PLR0913, RUF100 - each argument is one option
    room: RoomName,
    role: Annotated[Role, typer.Option(help="What the bearer may do.")] = Role.WRITE,
    ttl: Annotated[str, typer.Option(help="How long it holds: 90s, 15m, 1h, 7d.")] = "1h",
    subject: Annotated[str, typer.Option("--sub", help="Id of the user.")] = "cli",
    name: Annotated[str | None, typer.Option(help="Name that others see.")] = None,
    pattern: Annotated[
        bool, typer.Option("--pattern", help="ROOM is a pattern: * within a segment, ** beyond.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM private key, if there is no shared secret.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Print a JWT that opens a room, signed with the configured secret or with --key."""
    settings, now = load(config), time.time()
    signing, seconds = _signing_key(settings, key), _seconds(ttl)
    try:
        made = mint(
            signing,
            subject=subject,
            name=name,
            rooms=[room] if pattern else _room(room),
            role=role,
            now=now,
            ttl=seconds,
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    facts = {"token": made, "room": room, "role": role, "expires_at": int(now + seconds)}
    _show(facts, as_json, made)


def _signing_key(settings: Settings, file: Path | None) -> Key:
    if file is not None:
        return private_key(file.read_bytes())
    if settings.jwt_secret is None:
        raise UsageError("there is nothing to sign with: set auth=external and jwt_secret, or give --key FILE")
    return secret_key(settings.jwt_secret.get_secret_value())


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 10 * 365 * 86400:
        raise UsageError(f"--ttl {text}: write for example 90s, 15m, 1h or 7d")
    return seconds


def _room(name: str) -> RoomId:
    """A room as people write it: its canonical name, or what stands in its address."""
    return room_from_path(name.encode("utf-8", "surrogateescape"), b"")


def _format(form: Form) -> Format:
    chosen: Format = form.value
    return chosen


def _bounds(settings: Settings) -> Bounds:
    return Bounds(settings.sandbox_memory, settings.sandbox_timeout)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for left, right in rows:
        table.add_row(Text(left), Text(right))  # names of rooms may look like markup
    console = Console(highlight=False, width=10_000 if not sys.stdout.isatty() else None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _show(facts: object, as_json: bool, text: str) -> None:
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, default=str))
    elif text:
        typer.echo(text)
