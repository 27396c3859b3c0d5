"""Structured logs on stderr, for people or as JSON, with nothing secret in them.

A module writes ``log = logs.get(__name__)`` and logs an event in a few words with its facts as keywords:
``log.info("token refused", room=room, reason=reason)``. What is worth an INFO line is what an operator would look for:
start and stop, a client that was refused, a room that could not be loaded. A connection that opens or closes is a DEBUG
line, since its line costs as much as its handshake and five thousand may come at once. Nothing is logged per message;
counters (`syncd.metrics`) are for that.

Masking is the last step before rendering, so it also covers the lines of libraries: values under a telling key, tokens
in a URL's query, bearer headers and anything shaped like a JWT.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

MASK = "***"
_SECRET_KEY = re.compile(
    r"token|secret|password|passwd|authorization|cookie|credential|private_?key|jwt", re.IGNORECASE
)
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_QUERY = re.compile(r"(?i)([?&;](?:access_)?(?:token|jwt|secret|password|key)=)[^&;#\s\"']+")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}")
_USERINFO = re.compile(r"(\w+://[^/\s:@]*:)[^@/\s]+@")


def mask(text: str) -> str:
    """`text` without the tokens and passwords that can be recognised in it."""
    text = _JWT.sub(MASK, text)
    text = _QUERY.sub(rf"\g<1>{MASK}", text)
    text = _BEARER.sub(rf"\g<1> {MASK}", text)
    return _USERINFO.sub(rf"\g<1>{MASK}@", text)


def _masked(value: object, depth: int = 0) -> object:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"  # documents are nobody's business here
    if depth < 4 and isinstance(value, Mapping):
        return {key: _masked_item(str(key), item, depth + 1) for key, item in value.items()}
    if depth < 4 and isinstance(value, list | tuple | set | frozenset):
        return [_masked(item, depth + 1) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask(repr(value))


def _masked_item(key: str, value: object, depth: int) -> object:
    if value is not None and not isinstance(value, bool) and _SECRET_KEY.search(key):
        return MASK
    return _masked(value, depth)


_STRUCTURE = frozenset({"exc_info", "stack_info", "_record", "_from_structlog"})  # objects that later steps need


def mask_secrets(_: object, __: str, event: EventDict) -> EventDict:
    """Structlog processor: masks every value of the line."""
    return {key: value if key in _STRUCTURE else _masked_item(key, value, 0) for key, value in event.items()}


def _mask_rendered_traceback(_: object, __: str, event: EventDict) -> EventDict:
    for key in ("exception", "stack"):
        if isinstance(event.get(key), str):
            event[key] = mask(event[key])
    return event


_SHARED: tuple[Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(form: Literal["console", "json"], level: str, stream: TextIO | None = None) -> None:
    """Sends all logs of the process, libraries' included, to `stream` (stderr unless given) in one format.

    `level` is a name of `logging`'s, in any case. Called once by the command line. A program that mounts syncd in its
    own application need not: the lines then go to its standard `logging` as plain text.
    """
    target = stream or sys.stderr
    last: Processor = structlog.processors.JSONRenderer()
    if form == "console":
        last = structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
        processors=[
            mask_secrets,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _mask_rendered_traceback,
            last,
        ],
    )
    handler = _Handler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that `configure` installs; it understands the event dicts that our loggers pass as messages."""


def _to_logging(logger: logging.Logger, name: str, event: EventDict) -> Any:
    """Last processor: an event dict for our own handler, one masked line of text for anybody else's."""
    if any(isinstance(handler, _Handler) for handler in logging.getLogger().handlers):
        return structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, name, event)
    keywords = {"exc_info": event.pop("exc_info", None), "stack_info": event.pop("stack_info", None)}
    facts = {key: value for key, value in mask_secrets(logger, name, event).items() if key not in _OWN}
    text = " ".join([str(facts.pop("event", "")), *(f"{key}={value!r}" for key, value in facts.items())])
    return ("%s", text), {key: value for key, value in keywords.items() if value}


_OWN = frozenset({"level", "logger", "timestamp"})  # a host application's own format has these already


def get(name: str, **facts: Any) -> structlog.stdlib.BoundLogger:
    """A logger for the module `name`; `facts` (room, connection) are on every line it writes."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, *_SHARED, _to_logging],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return logger.bind(**facts) if facts else logger
