"""Messages of a frame: read as they are documented, and never more than a bounded number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt import wire
from crdt.errors import ProtocolError
from crdt.wire import UNKNOWN, read_messages
from tests.unit.crdt.build import num

MESSAGES = [
    ("00000100", [(0, 0, b"\x00")]),
    ("0001020000", [(0, 1, b"\x00\x00")]),
    ("0002020000", [(0, 2, b"\x00\x00")]),
    ("03", [(3, 0, b"")]),
    ("010100", [(1, 0, b"\x00")]),
    ("660105", [(102, 0, b"\x05")]),
    ("0002020000" + "0001020000" + "03", [(0, 2, b"\x00\x00"), (0, 1, b"\x00\x00"), (3, 0, b"")]),
    ("0002020000" + "0000", [(0, 2, b"\x00\x00")]),
    ("0000", []),
    ("00", []),
    ("", []),
    ("63", [(UNKNOWN, 0, b"")]),
    ("0003020000", [(UNKNOWN, 3, b"")]),
    ("0002020000" + "0501" + "03", [(0, 2, b"\x00\x00"), (UNKNOWN, 0, b"")]),
    ("00027f00", []),
    ("ff" * 20, []),
    ("0200" + "0161", [(UNKNOWN, 0, b"")]),
]


@pytest.mark.parametrize(("frame", "messages"), MESSAGES)
def test_reading(frame: str, messages: list[tuple[int, int, bytes]]) -> None:
    assert read_messages(bytes.fromhex(frame)) == messages


def test_writing() -> None:
    assert wire.sync_message(wire.STEP1, b"\x00").hex() == "00000100"
    assert wire.sync_message(wire.STEP2, b"\x00\x00").hex() == "0001020000"
    assert wire.sync_message(wire.UPDATE, b"a" * 200) == b"\x00\x02" + num(200) + b"a" * 200
    assert wire.awareness_message(b"\x00") == wire.EMPTY_AWARENESS
    assert wire.permission_denied("né").hex() == "0200036ec3a9"
    assert wire.saved_message(b"\x05").hex() == "660105"


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.binary(max_size=200)), max_size=20))
def test_what_is_written_is_read_back(payloads: list[tuple[int, bytes]]) -> None:
    frame = b"".join(wire.sync_message(sub, payload) for sub, payload in payloads)
    assert read_messages(frame) == [(wire.SYNC, sub, payload) for sub, payload in payloads]


def test_a_frame_of_a_million_questions_is_refused() -> None:
    assert len(read_messages(b"\x03" * wire.MAX_MESSAGES)) == wire.MAX_MESSAGES
    with pytest.raises(ProtocolError) as refused:
        read_messages(b"\x03" * 1_000_000)
    assert refused.value.rule == "messages"


@given(st.binary(max_size=200))
def test_any_bytes_are_read(frame: bytes) -> None:
    try:
        messages = read_messages(frame)
    except ProtocolError as error:
        assert error.rule == "messages"  # noqa: PT017
    else:
        assert all(kind in (-1, 0, 1, 3, 102) for kind, _, _ in messages)
