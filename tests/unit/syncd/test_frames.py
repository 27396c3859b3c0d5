"""RFC 6455 at the byte level: every case whole, one byte at a time, and cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd import frames
from syncd.frames import Event, FrameReader
from tests.websocket_client import MASK, client_frame, close_payload, header

LIMIT = 70_000
BINARY, CLOSE, PING, PONG, CONTINUATION, TEXT = (
    frames.BINARY,
    frames.CLOSE,
    frames.PING,
    frames.PONG,
    frames.CONTINUATION,
    frames.TEXT,
)

Outcome = tuple[list[Event], tuple[int, str] | None]


def read(chunks: list[bytes], limit: int = LIMIT) -> Outcome:
    """Feed chunks the way the endpoint does: the shortcut first."""
    reader = FrameReader(limit)
    events: list[Event] = []
    for chunk in chunks:
        message = reader.single(chunk)
        if message is not None:
            events.append((BINARY, message))
        else:
            events += reader.receive(chunk)
    violation = reader.violation
    if violation is not None:
        assert reader.finished
        assert reader.receive(client_frame(BINARY, b"late")) == []
        assert reader.single(client_frame(BINARY, b"late")) is None
    return events, None if violation is None else (violation.code, violation.rule)


def both_ways(data: bytes, limit: int = LIMIT) -> Outcome:
    """Whole and one byte at a time must give the same."""
    whole = read([data], limit)
    assert read([data[i : i + 1] for i in range(len(data))], limit) == whole
    return whole


def start(first: int, *rest: int) -> bytes:
    return bytes((first, *rest))


GOOD: dict[str, tuple[bytes, list[Event]]] = {
    "empty": (client_frame(BINARY), [(BINARY, b"")]),
    "one byte": (client_frame(BINARY, b"x"), [(BINARY, b"x")]),
    "rfc example, masked": (b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", [(BINARY, b"Hello")]),
    "two frames": (client_frame(BINARY, b"a") + client_frame(BINARY, b"b"), [(BINARY, b"a"), (BINARY, b"b")]),
    "fragments": (
        client_frame(BINARY, b"a", fin=False) + client_frame(0, b"b", fin=False) + client_frame(0, b"c"),
        [(BINARY, b"abc")],
    ),
    "empty fragments": (
        client_frame(BINARY, fin=False) + client_frame(0, fin=False) * 3 + client_frame(0, b"c"),
        [(BINARY, b"c")],
    ),
    "control frames between fragments": (
        client_frame(BINARY, b"a", fin=False) + client_frame(PING, b"p") + client_frame(PONG) + client_frame(0, b"b"),
        [(PING, b"p"), (PONG, b""), (BINARY, b"ab")],
    ),
    "a message after a fragmented one": (
        client_frame(BINARY, b"a", fin=False) + client_frame(0, b"b") + client_frame(BINARY, b"c"),
        [(BINARY, b"ab"), (BINARY, b"c")],
    ),
    "longest control frame": (client_frame(PING, b"p" * 125), [(PING, b"p" * 125)]),
    "empty close": (client_frame(CLOSE), [(CLOSE, b"")]),
    "close with reason": (client_frame(CLOSE, close_payload(4403, "ä".encode())), [(CLOSE, b"\x11\x33\xc3\xa4")]),
    "nothing counts after a close": (client_frame(CLOSE) + client_frame(TEXT, b"x"), [(CLOSE, b"")]),
    "largest reassembled": (
        client_frame(BINARY, b"a" * 40_000, fin=False) + client_frame(0, b"b" * (LIMIT - 40_000)),
        [(BINARY, b"a" * 40_000 + b"b" * (LIMIT - 40_000))],
    ),
}


@pytest.mark.parametrize(("data", "expected"), GOOD.values(), ids=GOOD)
def test_good(data: bytes, expected: list[Event]) -> None:
    assert both_ways(data) == (expected, None)


@pytest.mark.parametrize("size", [1, 124, 125, 126, 127, 2047, 2048, 65535, 65536, LIMIT])
def test_every_length_form(size: int) -> None:
    payload = (bytes(range(251)) * (size // 251 + 1))[:size]
    assert both_ways(client_frame(BINARY, payload)) == ([(BINARY, payload)], None)


BAD: dict[str, tuple[bytes, tuple[int, str]]] = {
    "unmasked": (client_frame(BINARY, b"x", masked=False), (1002, "unmasked")),
    "unmasked empty": (client_frame(BINARY, masked=False), (1002, "unmasked")),
    "unmasked ping": (client_frame(PING, masked=False), (1002, "unmasked")),
    "rsv1 (compressed)": (header(0xC2, 1) + b"x", (1002, "reserved-bits")),
    "rsv2": (header(0xA2, 1) + b"x", (1002, "reserved-bits")),
    "rsv3 on a ping": (header(0x99, 0), (1002, "reserved-bits")),
    **{f"opcode {n}": (header(0x80 | n, 0), (1002, "opcode")) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "long ping": (header(0x89, 126) + b"p" * 126, (1002, "long-control")),
    "long close": (header(0x88, 65536), (1002, "long-control")),
    "fragmented ping": (client_frame(PING, b"p", fin=False), (1002, "fragmented-control")),
    "fragmented close": (client_frame(CLOSE, fin=False), (1002, "fragmented-control")),
    "continuation of nothing": (client_frame(0, b"x"), (1002, "fragment-order")),
    "unfinished continuation of nothing": (client_frame(0, b"x", fin=False), (1002, "fragment-order")),
    "new message inside another": (
        client_frame(BINARY, b"a", fin=False) + client_frame(BINARY, b"b"),
        (1002, "fragment-order"),
    ),
    "text": (client_frame(TEXT, b"x"), (1003, "text")),
    "first fragment of a text": (client_frame(TEXT, b"x", fin=False), (1003, "text")),
    "half a close code": (client_frame(CLOSE, b"\x03"), (1002, "close-payload")),
    **{
        f"close code {code}": (client_frame(CLOSE, close_payload(code)), (1002, "close-code"))
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "close reason that is no utf-8": (client_frame(CLOSE, close_payload(1000, b"\xc3")), (1007, "close-reason")),
    "16-bit form of a short length": (start(0x82, 0xFE, 0, 125) + MASK + b"x" * 125, (1002, "length-form")),
    "64-bit form of a 16-bit length": (start(0x82, 0xFF, *(65535).to_bytes(8, "big")) + MASK, (1002, "length-form")),
    "64-bit length with the highest bit": (start(0x82, 0xFF, 0x80, *bytes(7)) + MASK, (1002, "length-form")),
    "one byte too long": (header(0x82, LIMIT + 1), (1009, "message-size")),
    "exabytes": (start(0x82, 0xFF, 0x7F, *b"\xff" * 7), (1009, "message-size")),
    "too long when reassembled": (
        client_frame(BINARY, b"a" * 40_000, fin=False) + header(0x80, LIMIT - 40_000 + 1),
        (1009, "message-size"),
    ),
}


@pytest.mark.parametrize(("data", "expected"), BAD.values(), ids=BAD)
def test_bad(data: bytes, expected: tuple[int, str]) -> None:
    events, violation = both_ways(data)
    assert violation == expected
    assert all(opcode != BINARY for opcode, _ in events)


@pytest.mark.parametrize(("data", "expected"), BAD.values(), ids=BAD)
def test_what_was_complete_before_a_violation_is_delivered(data: bytes, expected: tuple[int, str]) -> None:
    before = client_frame(BINARY, b"before") + client_frame(PING, b"p")
    events, violation = both_ways(before + data)
    assert events[:2] == [(BINARY, b"before"), (PING, b"p")]
    assert violation == expected


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4000, 4403, 4999])
def test_close_codes_that_may_be_sent(code: int) -> None:
    events, violation = both_ways(client_frame(CLOSE, close_payload(code)))
    assert violation is None
    assert frames.close_code(events[0][1]) == code


def test_an_oversize_frame_is_refused_from_its_header_alone() -> None:
    """The ten bytes that hold the length decide; neither mask nor payload is waited for."""
    limit = 16 * 1024 * 1024
    assert read([header(0x82, limit + 1)[:9]], limit) == ([], None)
    assert read([header(0x82, limit + 1)[:10]], limit) == ([], (1009, "message-size"))
    assert read([header(0x82, limit)[:10]], limit) == ([], None)


@pytest.mark.parametrize("limit", [1, 5, 124, 125, 126])
def test_limits_below_the_shortcuts(limit: int) -> None:
    fits, too_long = client_frame(BINARY, b"x" * limit), client_frame(BINARY, b"x" * (limit + 1))
    assert both_ways(fits + fits, limit) == ([(BINARY, b"x" * limit)] * 2, None)
    assert both_ways(too_long, limit) == ([], (1009, "message-size"))
    assert both_ways(fits + too_long, limit) == ([(BINARY, b"x" * limit)], (1009, "message-size"))


def test_the_shortcut_does_not_jump_into_a_fragmented_message() -> None:
    reader = FrameReader(LIMIT)
    assert reader.receive(client_frame(BINARY, b"a", fin=False)) == []
    assert reader.single(client_frame(BINARY, b"b")) is None
    assert reader.receive(client_frame(BINARY, b"b")) == []
    assert reader.violation is not None


def test_a_large_frame_in_small_reads_is_kept_once() -> None:
    """What is held while waiting is the bytes received, in one buffer: neither a list of chunks nor a reservation."""
    payload = b"\x5a" * 1_000_000
    data = client_frame(BINARY, payload)
    reader = FrameReader(len(payload))
    assert reader.receive(data[:14]) == []
    assert reader.held < 200
    for index in range(14, len(data) - 1, 1000):
        assert reader.receive(data[index : min(index + 1000, len(data) - 1)]) == []
        assert reader.held < index * 1.25 + 3000
    assert reader.receive(data[-1:]) == [(BINARY, payload)]
    assert reader.held == 0


def test_a_flood_of_empty_fragments_costs_no_memory() -> None:
    reader = FrameReader(LIMIT)
    reader.receive(client_frame(BINARY, b"a", fin=False))
    for _ in range(1000):
        assert reader.receive(client_frame(0, fin=False) * 10) == []
    assert reader.held < 200
    assert reader.receive(client_frame(0, b"z")) == [(BINARY, b"az")]


# Any bytes, cut anywhere

payloads = st.one_of(st.binary(max_size=140), st.integers(126, 3000).map(lambda n: b"\xa5" * n))
legal_frames = st.one_of(
    payloads.map(lambda p: client_frame(BINARY, p)),
    st.lists(payloads, min_size=2, max_size=4).map(
        lambda parts: (
            client_frame(BINARY, parts[0], fin=False)
            + b"".join(client_frame(0, p, fin=False) for p in parts[1:-1])
            + client_frame(0, parts[-1])
        )
    ),
    st.binary(max_size=125).map(lambda p: client_frame(PING, p)),
    st.binary(max_size=125).map(lambda p: client_frame(PONG, p)),
)
illegal_frames = st.sampled_from([data for data, _ in BAD.values()] + [data for data, _ in GOOD.values()])
noise = st.binary(min_size=1, max_size=40)
streams = st.lists(st.one_of(legal_frames, legal_frames, illegal_frames, noise), max_size=6).map(b"".join)


@given(streams, st.data())
def test_any_bytes_cut_anywhere_give_the_same(stream: bytes, data: st.DataObject) -> None:
    whole = read([stream])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(pieces) == whole


@given(st.lists(legal_frames, max_size=5).map(b"".join))
def test_legal_frames_never_violate(stream: bytes) -> None:
    assert read([stream])[1] is None


@given(st.binary(max_size=200))
def test_noise_parses_or_gives_one_violation(stream: bytes) -> None:
    _, violation = both_ways(stream)
    assert violation is None or violation[0] in (1002, 1003, 1007, 1009)


# Writing


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x82\x00"),
        (5, b"\x82\x05"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_frame(size: int, head: bytes) -> None:
    assert frames.frame(b"x" * size) == head + b"x" * size


def test_control_frames() -> None:
    assert frames.ping_frame() == b"\x89\x00"
    assert frames.ping_frame(b"p") == b"\x89\x01p"
    assert frames.pong_frame(b"p" * 125) == b"\x8a\x7d" + b"p" * 125
    assert frames.close_frame(1012, "the server restarts") == b"\x88\x15\x03\xf4the server restarts"
    assert frames.close_frame(frames.NO_STATUS) == b"\x88\x00"
    assert frames.close_code(b"") == frames.NO_STATUS
    with pytest.raises(ValueError, match="125"):
        frames.ping_frame(b"p" * 126)


def test_a_long_close_reason_is_cut_between_characters() -> None:
    data = frames.close_frame(4403, "ä" * 100)
    assert len(data) == 2 + 2 + 122
    assert data[4:].decode() == "ä" * 61
