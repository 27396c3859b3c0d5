"""`syncd.logs`: one line per event, in two formats, and no secret in any of them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from syncd import logs

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level


def _json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_has_one_object_per_line_with_the_facts() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    logs.get("syncd.test", room="a\nb").info("connection opened", connection=3)
    (line,) = _json_lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "connection opened",
        "level": "info",
        "logger": "syncd.test",
        "room": "a\nb",
        "connection": 3,
    }


def test_console_lines_are_readable() -> None:
    stream = io.StringIO()
    logs.configure("console", "info", stream)
    logs.get("syncd.test").warning("room not loaded", room="notes")
    assert "warning" in stream.getvalue()
    assert "room not loaded" in stream.getvalue()
    assert "room=notes" in stream.getvalue()


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    logs.configure("json", "warning", stream)
    log = logs.get("syncd.test")
    log.info("quiet")
    log.error("loud")
    logging.getLogger("library").info("quiet too")
    assert [line["event"] for line in _json_lines(stream)] == ["loud"]


def test_lines_of_libraries_have_the_same_form() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    logging.getLogger("uvicorn.error").info("listening on %s", "port 1")
    (line,) = _json_lines(stream)
    assert (line["event"], line["logger"], line["level"]) == ("listening on port 1", "uvicorn.error", "info")


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_reaches_a_line(form: Any) -> None:
    stream = io.StringIO()
    logs.configure(form, "debug", stream)
    log = logs.get("syncd.test")
    log.info("request", path=f"/ws/room?token={JWT}&x=1", jwt_secret="open sesame 1", Authorization="open sesame 2")
    log.info("nested", headers={"cookie": "open sesame 3", "list": [f"Bearer {JWT}"]}, url="postgres://u:sesame@h/d")
    log.info("GET /ws/a?token=sesame4 and Bearer sesame5")
    log.info("payload", data=b"sesame6")
    logging.getLogger("lib").info('"GET /ws/room?access_token=%s HTTP/1.1"', "sesame7")
    try:
        raise ValueError(f"bad token {JWT}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("lib").exception("failed too")
    text = stream.getvalue()
    assert "sesame" not in text
    assert JWT not in text
    assert JWT.split(".")[1] not in text
    assert "ValueError" in text
    assert "&x=1" in text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"a {JWT} b", "a *** b"),
        ("/ws/x?token=abc#f", "/ws/x?token=***#f"),
        ("/ws/x?a=1&token=abc&b=2", "/ws/x?a=1&token=***&b=2"),
        ("Authorization: Bearer abcdef", "Authorization: Bearer ***"),
        ("redis://user:pw@host/0", "redis://user:***@host/0"),
        ("sqlite:///syncd.db", "sqlite:///syncd.db"),
        ("nothing to hide: eyJ is short", "nothing to hide: eyJ is short"),
    ],
)
def test_mask(text: str, masked: str) -> None:
    assert logs.mask(text) == masked


def test_in_an_application_with_logging_of_its_own_lines_are_plain_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    logs.get("syncd.test", room="100%s").info("connection opened", token="sesame", url=f"/x?token={JWT}")
    logs.get("syncd.test").debug("quiet")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("syncd.test", "INFO")
    assert record.getMessage() == "connection opened room='100%s' token='***' url='/x?token=***'"


def test_an_exception_reaches_the_applications_own_logging(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("why")
    except ValueError:
        logs.get("syncd.test").exception("failed")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.getMessage() == "failed"
