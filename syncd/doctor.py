"""`syncd doctor`: is this machine, this configuration and this store fit to serve?"""

import os
import resource
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from auth.authenticator import verification_keys
from auth.errors import KeyUnusable
from persistence.errors import SchemaTooOld, StoreError
from persistence.opener import database_path, open_store
from persistence.sandbox import Sandbox
from syncd.config import Settings, unknown_variables
from syncd.metrics import build_facts
from syncd.web_files import INDEX, find_web_folder

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `failed` means that the server would not start or not work."""

    name: str
    state: State
    detail: str


async def examine(settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """Looks at everything a node needs, changing nothing but what opening the store creates."""
    return [
        _build(),
        *_variables(environment),
        _keys(settings),
        _port(settings),
        _files(settings),
        await _store(settings),
        await _sandbox(settings),
        _client(settings),
    ]


def _build() -> Finding:
    facts = build_facts()
    return Finding("build", "ok", ", ".join(f"{name} {value}" for name, value in facts.items()))


def _variables(environment: Mapping[str, str]) -> list[Finding]:
    return [Finding("environment", "warning", f"{name} names no setting") for name in unknown_variables(environment)]


def _keys(settings: Settings) -> Finding:
    if settings.auth == "open":
        return Finding("access", "ok", f"everyone who can reach {settings.host} may read and write every room")
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
    try:
        (key,) = verification_keys(secret, settings.jwt_public_key)
    except KeyUnusable as error:
        return Finding("access", "failed", str(error))
    return Finding("access", "ok", f"tokens signed with {key.algorithm}")


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return Finding("address", "warning", f"cannot listen on {where} now: {error.strerror}")
    return Finding("address", "ok", where)


def _files(settings: Settings) -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < settings.max_connections + 256:
        return Finding(
            "open files", "warning", f"the limit of {hard} allows fewer than max_connections={settings.max_connections}"
        )
    return Finding("open files", "ok", f"enough for {settings.max_connections} connections")


async def _store(settings: Settings) -> Finding:
    """Looks without touching: an examination creates no database and does not disturb a server that has it open."""
    path = database_path(settings.store)
    if path is not None and not path.exists():
        if os.access(path.parent, os.W_OK):
            return Finding("store", "ok", f"no database {path} yet; the server makes one")
        return Finding("store", "failed", f"cannot make a database in {path.parent}")
    try:
        store = await open_store(settings.store, read_only=path is not None)
    except SchemaTooOld as error:
        return Finding("store", "ok", f"{error}, or let the server do so")
    except StoreError as error:
        return Finding("store", "failed", str(error))
    try:
        facts = await store.check()
    except StoreError as error:
        return Finding("store", "failed", str(error))
    finally:
        await store.close()
    detail = f"{facts.adapter}, schema {facts.schema}, {facts.bytes} bytes"
    if not facts.durable:
        return Finding("store", "warning", f"{detail}; nothing in it outlives the process")
    return Finding("store", "ok", detail)


async def _sandbox(settings: Settings) -> Finding:
    sandbox = Sandbox(fresh=True)
    try:
        await sandbox.run("ping", timeout=settings.sandbox_timeout, memory=settings.sandbox_memory)
    except (StoreError, OSError) as error:
        return Finding("sandbox", "failed", f"the process for merges and exports does not work: {error}")
    finally:
        await sandbox.close()
    return Finding("sandbox", "ok", "the process for merges and exports works")


def _client(settings: Settings) -> Finding:
    if not settings.web:
        return Finding("web client", "ok", "switched off")
    if not (find_web_folder() / INDEX).is_file():
        return Finding("web client", "warning", "not built; `make web` builds it in a checkout")
    return Finding("web client", "ok", f"served from {os.fspath(find_web_folder())}")
