"""Every setting of a node: read once at the start, frozen afterwards.

`Settings(...)` looks at nothing but its arguments, so a test or an embedding application gets what it asked for.
`load()` is what the command line uses: arguments of the command win over ``SYNCD_*`` environment variables, which win
over the TOML file, which wins over the defaults written here. Everything else in the program receives plain values.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

ENV_PREFIX = "SYNCD_"
CONFIG_VARIABLE = "SYNCD_CONFIG"

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_UNITS = {
    "": 1,
    "b": 1,
    "k": KIB,
    "kib": KIB,
    "kb": 1000,
    "m": MIB,
    "mib": MIB,
    "mb": 10**6,
    "g": GIB,
    "gib": GIB,
    "gb": 10**9,
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


class ConfigError(ValueError):
    """The configuration cannot be used. The message names the settings and repeats no value: it may be secret."""


def parse_size(value: object) -> object:
    """Bytes from ``16MiB``, ``64 KiB``, ``500kB`` or a plain number; anything else is left for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    unit = match and _UNITS.get(match[2].lower())
    if not match or unit is None:
        raise ValueError("is not a size; write for example 16MiB, 64KiB or a number of bytes")
    return int(float(match[1]) * unit)


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _prefix(value: str) -> str:
    if not value.startswith("/") or not value.endswith("/"):
        raise ValueError("must begin and end with '/'")
    if re.search(r"[?#%\s]|//", value):
        raise ValueError("must be a plain path without '?', '#', '%', spaces or empty segments")
    return value


def _origin(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if value != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s]+", value):
            raise ValueError("each origin must look like https://app.example.org (no path), or be '*'")
    return values


Size = Annotated[int, BeforeValidator(parse_size)]
PositiveSize = Annotated[Size, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]
Off = Annotated[int, Field(ge=0)]  # a count where 0 means "no limit"


class Settings(BaseSettings):
    """One node's configuration. Sizes are bytes, times are seconds unless the name ends in ``_ms``.

    Raises `pydantic.ValidationError` when a value is out of range or two settings contradict each other.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose one.")
    store: str = Field(
        "sqlite:///syncd.db",
        description="Where documents are kept: `sqlite:///relative.db`, `sqlite:////absolute.db`, or `memory://` "
        "(gone when the process ends).",
    )
    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        "/ws/", description="Path under which rooms are opened; `/` makes a drop-in for a plain y-websocket server."
    )
    web: bool = Field(True, description="Serve the built web client at `/`.")

    auth: Literal["open", "external"] = Field(
        "open",
        description="`open`: everyone who can connect may write. `external`: every connection needs a JWT signed by "
        "your own backend.",
    )
    allow_open_network: bool = Field(
        False, description="Let `auth=open` listen on an address that other machines can reach."
    )
    jwt_secret: SecretStr | None = Field(None, description="Shared secret (at least 32 bytes) for HS256 tokens.")
    jwt_public_key: str | None = Field(
        None, description="PEM public key, or the path of a PEM file, for RS256, ES256 or EdDSA tokens."
    )
    jwt_audience: str | None = Field(None, description="If set, a token's `aud` must contain it.")
    jwt_issuer: str | None = Field(None, description="If set, a token's `iss` must equal it.")
    jwt_leeway: float = Field(10, ge=0, le=300, description="Clock difference tolerated in `exp` and `nbf`.")
    allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_origin)] = Field(
        (),
        description="Web origins, besides the server's own, whose pages may connect (comma-separated; `*` for all).",
    )

    max_message: PositiveSize = Field(16 * MIB, description="Largest websocket message accepted (else close 1009).")
    max_update: PositiveSize = Field(
        default_factory=lambda data: data.get("max_message", 16 * MIB),
        description="Largest single Yjs update accepted; `max_message` unless set.",
    )
    handshake_timeout: Seconds = Field(10, description="A socket that has not finished its request by then is dropped.")
    max_connections: Count = Field(50_000, description="Open connections on this node (else HTTP 503).")
    max_connections_per_address: Off = Field(0, description="Open connections from one address; 0 means no limit.")
    max_room_connections: Off = Field(0, description="Open connections in one room; 0 means no limit.")
    max_rooms: Off = Field(0, description="Rooms open at once on this node; 0 means no limit.")
    messages_per_second: Seconds = Field(
        200, description="Messages per second one connection may send, averaged; bursts of four times as many pass."
    )
    max_presence_bytes: PositiveSize = Field(16 * KIB, description="Largest presence state of one client.")
    presence_ids_per_connection: Count = Field(
        1, description="Client ids for which one connection may announce presence."
    )
    held_bytes: PositiveSize = Field(
        4 * MIB, description="Per room: updates held back until what they build on has arrived."
    )
    held_updates: Count = Field(1024, description="Per room: number of updates held back likewise.")
    max_document_bytes: PositiveSize = Field(256 * MIB, description="Largest document; a growing update is refused.")
    max_state_entries: Count = Field(
        200_000, description="Most client ids in one document's state vector, or in one a client sends."
    )

    outbox_high: PositiveSize = Field(
        256 * KIB, description="Unsent bytes above which a reader stops receiving single updates."
    )
    outbox_low: Size = Field(64 * KIB, ge=0, description="Unsent bytes below which it is brought up to date.")
    stalled_timeout: Seconds = Field(30, description="A reader that takes nothing for so long is closed.")
    flush_min_ms: Milliseconds = Field(1, description="Window in which a small room's updates are merged.")
    flush_max_ms: Milliseconds = Field(16, description="Window of a room with many readers.")
    flush_overload_ms: Milliseconds = Field(50, description="Longest window, reached only under overload.")
    log_flush_ms: Milliseconds = Field(
        50, description="How long updates gather before one transaction saves them, when somebody waits for it."
    )
    log_flush_max_ms: Milliseconds = Field(200, description="The same when nobody waits; the longer of the two counts.")
    whole_bytes: PositiveSize = Field(
        4 * MIB,
        description="A sync up to this size is one update: an editor with a schema may delete what it sees half of.",
    )
    chunk_bytes: PositiveSize = Field(
        256 * KIB, description="A larger sync is sent in pieces of this size, so that a slow link is not given up."
    )
    keepalive: Seconds = Field(20, description="Interval at which idle connections are probed.")
    presence_timeout: Seconds = Field(30, description="A presence not renewed for so long is removed.")
    presence_grace: Milliseconds = Field(
        2, description="How long a lost connection's presence stays, so that a quick reconnect does not flicker."
    )
    unload_after: Milliseconds = Field(30, description="How long an empty room stays in memory.")

    drain_timeout: Seconds = Field(10, description="At shutdown: time within which all connections are closed.")
    drain_slices: Count = Field(20, description="At shutdown: number of groups in which they are closed.")

    compact_updates: Count = Field(500, description="Updates of a room after which they are merged into one block.")
    compact_bytes: PositiveSize = Field(1 * MIB, description="Bytes of updates after which they are merged likewise.")
    snapshot_ratio: float = Field(
        0.5, gt=0, le=10, description="A room's snapshot is rewritten when the newer blocks outgrow this part of it."
    )
    sandbox_memory: PositiveSize = Field(2 * GIB, description="Memory limit of the process that merges and exports.")
    sandbox_timeout: Seconds = Field(120, description="Time limit of one job in that process.")

    log_format: Literal["console", "json"] = Field("console", description="Format of the log lines on stderr.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    @classmethod
    def settings_customise_sources(  # noqa: PLR0913, RUF100 - the signature is pydantic's
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only: the environment is read in `load` and nowhere else."""
        return (init_settings,)

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        if self.outbox_low >= self.outbox_high:
            raise ValueError("outbox_low must be below outbox_high")
        if not self.flush_min_ms <= self.flush_max_ms <= self.flush_overload_ms <= 1000:
            raise ValueError("flush_min_ms <= flush_max_ms <= flush_overload_ms <= 1000 must hold")
        if self.max_update > self.max_message:
            raise ValueError("max_update cannot exceed max_message")
        return self

    @model_validator(mode="after")
    def _access_is_deliberate(self) -> Self:
        keys = [name for name in ("jwt_secret", "jwt_public_key") if getattr(self, name) is not None]
        if self.auth == "external":
            if len(keys) != 1:
                raise ValueError("auth=external needs exactly one of jwt_secret and jwt_public_key")
            if self.jwt_secret is not None and len(self.jwt_secret.get_secret_value().encode()) < 32:
                raise ValueError("jwt_secret must be at least 32 bytes long")
        elif keys:
            raise ValueError(f"{keys[0]} is set but auth=open would ignore it; set auth=external")
        elif not self.allow_open_network and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from other machines and auth=open lets everyone write there; set "
                "auth=external with a key, or allow_open_network (--allow-open-network) if that is what you want"
            )
        return self

    def shown(self) -> dict[str, Any]:
        """Every setting with its value, secrets replaced by ``***``: safe to print, log and attach to a report."""
        return {name: "***" if isinstance(value, SecretStr) else value for name, value in self}


def is_loopback(host: str) -> bool:
    """True if only this machine can reach a socket bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load(file: Path | None = None, /, **overrides: object) -> Settings:
    """The settings of this process: `overrides` (None means absent) over the environment over a TOML file.

    The file is `file`, else the one named by ``SYNCD_CONFIG``, else none. Raises `ConfigError`.
    """
    path = file or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    try:
        environment = EnvSettingsSource(Settings, env_prefix=ENV_PREFIX, env_ignore_empty=True)()
        given = {name: value for name, value in overrides.items() if value is not None}
        return Settings(**{**_from_toml(path), **environment, **given})
    except SettingsError as error:
        raise ConfigError(str(error)) from error
    except ValidationError as error:
        raise ConfigError(explain(error)) from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """``SYNCD_*`` variables that name no setting, most likely a typing error; sorted."""
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
    return sorted(name for name in environment if name.upper().startswith(ENV_PREFIX) and name.upper() not in known)


def explain(error: ValidationError) -> str:
    """One line for all that is wrong, without the values: any of them may be a secret."""
    problems = []
    for item in error.errors(include_input=False, include_url=False):
        if item["type"] == "default_factory_not_called":  # only says that another setting, listed too, is wrong
            continue
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "is not a setting"
        where = ".".join(str(part) for part in item["loc"])
        problems.append(f"{where}: {message}" if where else message)
    return "; ".join(problems)


def _from_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} is not valid TOML: {error}") from error
