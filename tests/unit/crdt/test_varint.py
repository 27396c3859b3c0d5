"""lib0 integers: bounded, and the same numbers as JavaScript reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.errors import ProtocolError
from crdt.varint import MAX_SAFE, read_bytes, read_uint, uint, write_bytes, write_uint
from tests.unit.crdt.build import num


@given(st.integers(0, MAX_SAFE), st.binary(max_size=3), st.binary(max_size=3))
def test_what_is_written_is_read_back(value: int, before: bytes, behind: bytes) -> None:
    out = bytearray(before)
    write_uint(out, value)
    assert bytes(out[len(before) :]) == uint(value) == num(value)
    assert read_uint(bytes(out) + behind, len(before)) == (value, len(out))


@pytest.mark.parametrize("value", [(1 << bits) + more for bits in range(7, 53) for more in (-1, 0)])
def test_every_length_of_an_integer(value: int) -> None:
    assert uint(value) == num(value)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "truncated"),
        (b"\x80", "truncated"),
        (b"\xff\xff\xff", "truncated"),
        (num(2**53), "varint"),
        (b"\x80" * 8 + b"\x01", "varint"),
        (b"\x80" * 8 + b"\x00", "varint"),
        (b"\xff" * 1_000_000, "varint"),
    ],
)
def test_an_integer_that_javascript_could_not_hold_is_refused(data: bytes, rule: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        read_uint(data, 0)
    assert refused.value.rule == rule


def test_padded_integers_are_read_as_javascript_reads_them() -> None:
    assert read_uint(b"\x81\x80\x00", 0) == (1, 3)
    assert read_uint(b"\x80" * 7 + b"\x00", 0) == (0, 8)


@given(st.binary(max_size=300))
def test_byte_strings_are_read_back(data: bytes) -> None:
    out = bytearray(b"x")
    write_bytes(out, data)
    assert read_bytes(bytes(out), 1) == (data, len(out))


@pytest.mark.parametrize("data", [b"\x01", b"\x05abcd", num(MAX_SAFE) + b"a", b""])
def test_a_byte_string_longer_than_the_data_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="truncated"):
        read_bytes(data, 0)


def test_errors_keep_their_rule_across_processes() -> None:
    import pickle

    again = pickle.loads(pickle.dumps(ProtocolError("rule", "detail")))
    assert (again.rule, again.detail, str(again)) == ("rule", "detail", "rule: detail")
