"""The validator: every rule refuses what it is for, and nothing that honest clients write."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from crdt.errors import ProtocolError
from crdt.json_text import MAX_DEPTH, check_json
from crdt.update import encode_state_vector, parse_state_vector, parse_update
from tests.unit.crdt.build import (
    any_item,
    author,
    embed,
    erased,
    gc,
    item,
    num,
    section,
    skip,
    state_vector,
    string,
    text,
    typed,
    update,
)

BIG = 2**31 - 1


def refused(data: bytes) -> str:
    """The rule by which the validator refuses the bytes."""
    with pytest.raises(ProtocolError) as error:
        parse_update(data)
    return error.value.rule


def nested(depth: int) -> bytes:
    """A lib0 Any array in an array ... `depth` deep."""
    return b"\x75\x01" * (depth - 1) + b"\x75\x00"


REFUSED = {
    "nothing": (b"", "truncated"),
    "no delete set": (b"\x00", "truncated"),
    "count of sections": (b"\x7f\x00", "count"),
    "count of structs": (b"\x01\x7f\x01\x00\x00", "count"),
    "count of delete clients": (b"\x00\x7f", "count"),
    "count of delete ranges": (b"\x00\x01\x01\x7f", "count"),
    "client above 53 bits": (update(num(1) + num(2**53) + num(0) + gc(1)), "varint"),
    "integer of nine bytes": (b"\x01\x01" + b"\x80" * 8 + b"\x01" + b"\x00", "varint"),
    "first clock": (update(section(1, BIG + 1, gc(1))), "clock"),
    "clock of a GC's end": (update(section(1, 0, gc(BIG + 1))), "clock"),
    "clock of an item's end": (update(section(1, BIG, string("a"))), "clock"),
    "clock of a Skip's end": (update(section(1, 1, skip(BIG), gc(1))), "clock"),
    "clock of an origin": (update(section(1, 0, string("a", (2, BIG + 1)))), "clock"),
    "clock of a delete's start": (update(deletes={1: [(BIG + 1, 1)]}), "clock"),
    "clock of a delete's end": (update(deletes={1: [(BIG, 1)]}), "clock"),
    "client in two sections": (update(section(1, 0, gc(1)), section(1, 1, gc(1))), "duplicate-client"),
    "client twice in the delete set": (b"\x00\x02" + (num(1) + num(1) + num(0) + num(1)) * 2, "duplicate-client"),
    "section without structs": (update(section(1, 0)), "empty-section"),
    "GC of nothing": (update(section(1, 0, gc(0))), "length"),
    "Skip of nothing": (update(section(1, 0, skip(0))), "length"),
    "GC with an origin flag": (update(section(1, 0, b"\x80\x01")), "flags"),
    "Skip with a right origin flag": (update(section(1, 0, b"\x4a\x01")), "flags"),
    "GC with a key flag": (update(section(1, 0, b"\x20\x01")), "flags"),
    "deleted content of nothing": (update(section(1, 0, item(1, num(0)))), "length"),
    "array of no values": (update(section(1, 0, any_item(b"", 0))), "length"),
    "delete of nothing": (update(deletes={1: [(0, 0)]}), "length"),
    "content JSON": (update(section(1, 0, item(2, num(1) + text("1")))), "content-json"),
    "content 11": (update(section(1, 0, item(11, b"\x00"))), "content"),
    "content 31": (update(section(1, 0, item(31, b"\x00"))), "content"),
    "origin is itself": (update(section(1, 5, string("a", (1, 5)))), "origin"),
    "origin is younger": (update(section(1, 5, string("a", (1, 6)))), "origin"),
    "right origin is itself": (update(section(1, 5, string("a", None, (1, 5)))), "origin"),
    "parent is itself": (update(section(1, 5, string("a", parent=(1, 5)))), "parent"),
    "parent is neither": (update(section(1, 0, b"\x04\x02" + text("t") + text("a"))), "parent"),
    "XML hook": (update(section(1, 0, item(7, num(5) + text("hook")))), "xml-hook"),
    "unknown shared type": (update(section(1, 0, item(7, num(7)))), "type-ref"),
    "text is not UTF-8": (update(section(1, 0, item(4, b"\x01\xff"))), "utf8"),
    "text is half a surrogate pair": (update(section(1, 0, item(4, b"\x03\xed\xa0\x80"))), "utf8"),
    "text is overlong": (update(section(1, 0, item(4, b"\x02\xc0\x80"))), "utf8"),
    "name is not UTF-8": (update(section(1, 0, b"\x04\x01\x01\xff\x01a")), "utf8"),
    "key is not UTF-8": (update(section(1, 0, b"\x24\x01\x01m\x01\xff\x01a")), "utf8"),
    "format key is not UTF-8": (update(section(1, 0, item(6, b"\x01\xff" + text("1")))), "utf8"),
    "JSON is not UTF-8": (update(section(1, 0, item(5, b"\x03\x22\xff\x22"))), "utf8"),
    "values too deep": (update(section(1, 0, any_item(nested(MAX_DEPTH + 1)))), "depth"),
    "maps too deep": (update(section(1, 0, any_item(b"\x76\x01\x01a" * 65 + b"\x7e"))), "depth"),
    "subdocument options too deep": (
        update(section(1, 0, item(9, text("g") + b"\x76\x01\x01a" * 65 + b"\x7e"))),
        "depth",
    ),
    "JSON too deep": (update(section(1, 0, embed("[" * 65 + "]" * 65))), "depth"),
    "unknown value": (update(section(1, 0, any_item(b"\x73"))), "any"),
    "value of kind 128": (update(section(1, 0, any_item(b"\x80\x01"))), "any"),
    "kind of value as a long integer": (update(section(1, 0, any_item(b"\xf7\x00\x01a"))), "any"),
    "value is missing": (update(section(1, 0, item(8, num(2) + b"\x7e"))), "any"),
    "values are cut off": (b"\x01\x01\x01\x00\x08\x01\x01t\x02\x7e\x7d", "truncated"),
    "count of values": (update(section(1, 0, any_item(b"\x7e", 100))), "count"),
    "count of a map": (bytes.fromhex("01010100080101740176808080800100"), "count"),
    "signed integer beyond 53 bits": (update(section(1, 0, any_item(b"\x7d\xbf" + b"\xff" * 6 + b"\x7f"))), "varint"),
    "signed integer of nine bytes": (update(section(1, 0, any_item(b"\x7d" + b"\x80" * 8 + b"\x00"))), "varint"),
    "float is cut off": (b"\x01\x01\x01\x00\x08\x01\x01t\x01\x7b\x00\x00", "truncated"),
    "subdocument without options": (update(section(1, 0, item(9, text("g") + b"\x7e"))), "subdocument"),
    "subdocument with undefined": (update(section(1, 0, item(9, text("g") + b"\x7f"))), "subdocument"),
    "bytes behind": (b"\x00\x00\x00", "trailing"),
    "string longer than the data": (update(section(1, 0, item(4, num(1 << 40) + b"a"))), "truncated"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, rule = REFUSED[name]
    assert refused(data) == rule


@pytest.mark.parametrize("length", range(40))
def test_every_truncation_is_refused(length: int) -> None:
    whole = update(section(1, 0, string("hé🎉"), any_item(b"\x7d\x05")), deletes={2: [(3, 4)]})
    assert len(whole) < 41
    if length < len(whole):
        refused(whole[:length])
    else:
        parse_update(whole)


def test_the_summary_of_an_update() -> None:
    data = update(
        section(7, 3, string("hé🎉", (7, 2), (9, 4)), skip(2), gc(5), string("a", parent=(8, 1))),
        section(5, 0, item(1, num(3), left=(9, 9))),
        deletes={7: [(0, 2), (5, 1)], 6: [(1, 1)]},
    )
    found = parse_update(data)
    assert found.ranges == [(7, 3, 7), (7, 9, 15), (5, 0, 3)]
    assert found.needs == {9: 10, 8: 2}
    assert found.deletes == [(7, 0, 2), (7, 5, 6), (6, 1, 2)]
    assert found.sections == 2
    assert [data[start:stop] for _, start, stop in found.bodies] == [item(1, num(3), left=(9, 9))]
    assert data[found.deletes_at :] == update(deletes={7: [(0, 2), (5, 1)], 6: [(1, 1)]})[1:]
    assert not found.has_empty


def test_an_empty_string_is_seen() -> None:
    found = parse_update(update(section(1, 4, string("", (2, 0)))))
    assert found.has_empty
    assert found.ranges == []
    assert found.needs == {2: 1}


def test_a_key_flag_beside_an_origin_names_no_key() -> None:
    """Yjs reads the key only where it reads the parent."""
    parse_update(update(section(1, 1, b"\xa4\x01\x00" + text("a"))))


VALUES = [b"\x7f", b"\x7e", b"\x7d\x41", b"\x7c" + struct.pack(">f", 1.5), b"\x7b" + struct.pack(">d", float("nan"))]
VALUES += [b"\x7a" + b"\xff" * 8, b"\x79", b"\x78", b"\x77" + text("é"), b"\x76\x01" + text("k") + b"\x78"]
VALUES += [b"\x75\x02\x7e\x78", b"\x74\x02\xff\x00", nested(MAX_DEPTH), b"\x7d\xbf" + b"\xff" * 5 + b"\x7f"]


@pytest.mark.parametrize("value", VALUES)
def test_every_kind_of_value_is_accepted(value: bytes) -> None:
    parse_update(update(section(1, 0, any_item(value))))
    if value != nested(MAX_DEPTH):
        parse_update(update(section(1, 0, item(9, text("guid") + b"\x76\x01" + text("k") + value))))


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 6])
def test_every_shared_type_is_accepted(kind: int) -> None:
    name = text("p") if kind == 3 else b""
    assert parse_update(update(section(1, 0, item(7, num(kind) + name)))).ranges == [(1, 0, 1)]


# JSON


@pytest.mark.parametrize(
    "raw",
    [
        "NaN", "Infinity", "-Infinity", "[NaN]", "1e999", "-1e999", '{"a":1e400}', "9" * 400, "01", "+1", ".5", "1.",
        "0x10", "1_0", "'a'", "undefined", "", " ", "[1,]", "{a:1}", '{"a":1,}', '"\n"', '"\x00"', '"\x1f"',
        r'"\ud800"', r'"\udc00a"', r'{"\uD83D":1}', r'["ok",{"k":"\ud83dx"}]', r'"\x41"', "true false", "[1]x",
        "/* */1", "\ufeff1", "\u00a01",
    ],
)  # fmt: skip
def test_json_that_some_engine_would_not_parse_is_refused(raw: str) -> None:
    with pytest.raises(ProtocolError) as error:
        check_json(raw.encode())
    assert error.value.rule == "json"
    assert refused(update(section(1, 0, embed(raw)))) == "json"
    assert refused(update(section(1, 0, item(6, text("bold") + text(raw))))) == "json"


@pytest.mark.parametrize(
    "raw",
    ["true", "null", "{}", '""', " [1, 2] ", '"\\ud83c\\udf89"', '"\U0001f389"', "-0", "1e308", "1E-400",
     '"\x7f\u2028"', '{"a":{"a":[]},"a":1}', "9" * 300, '"[[[[' + "[" * 100 + '"', '{"__proto__":1}'],
)  # fmt: skip
def test_json_that_every_engine_parses_is_accepted(raw: str) -> None:
    assert check_json(raw.encode()) == json.loads(raw)
    parse_update(update(section(1, 0, embed(raw))))


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_json_may_be_nested_so_deep_and_no_deeper(opening: str, closing: str) -> None:
    levels = opening.count("[") + opening.count("{")
    fits = MAX_DEPTH // levels
    assert check_json((opening * fits + "1" + closing * fits).encode()) is not None
    with pytest.raises(ProtocolError, match="depth"):
        check_json((opening * (fits + 1) + "1" + closing * (fits + 1)).encode())


def test_brackets_inside_strings_are_no_depth() -> None:
    assert check_json(json.dumps(["[{" * 90, 'a"[' * 70, "\\" * 3 + "[" * 70]).encode(), 1) is not None


def test_json_of_a_million_brackets_is_refused_without_recursion() -> None:
    with pytest.raises(ProtocolError, match="depth"):
        check_json(b"[" * 1_000_000)


def test_bytes_that_are_not_utf8_are_no_json() -> None:
    with pytest.raises(ProtocolError, match="utf8"):
        check_json(b'"\xff"')


# honest clients


def everything(client: int) -> list[bytes]:
    """What an honest pycrdt client sends while it uses every kind of content."""
    doc: Doc[Any] = author(client)
    sent: list[bytes] = []
    subscription = doc.observe(lambda event: sent.append(event.update))
    body, table, values = doc.get("t", type=Text), doc.get("m", type=Map), doc.get("a", type=Array)
    tree = doc.get("x", type=XmlFragment)
    body += "h\u00e9llo \U0001f389"
    body.format(0, 3, {"bold": True, "link": {"href": "x", "n": 1}})
    body.insert_embed(2, {"image": "y"}, {"width": 3})
    with doc.transaction():
        body.insert(0, "both")
        del body[1:3]
    for key, value in {
        "i": 7,
        "f": 1.5,
        "n": None,
        "b": True,
        "s": "é",
        "l": [1, {"z": None}],
        "y": b"\x00\xff",
    }.items():
        table[key] = value
    table["i"] = 2**50
    table["t"] = Text("nested")
    table["sub"] = Doc()
    del table["f"]
    values.extend([1, "a", [2.5], {"k": "v"}, Map({"deep": Array([1])})])
    del values[1]
    element = XmlElement("p", {"id": "1"})
    tree.children.append(element)
    element.children.append(XmlText("words"))
    element.attributes["class"] = "c"
    doc.unobserve(subscription)
    return [*sent, doc.get_update(), author(client + 1, *sent).get_update()]


def test_what_honest_clients_write_is_accepted() -> None:
    sent = everything(2**53 - 2)
    assert len(sent) > 20
    for data in sent:
        assert parse_update(data).ranges or parse_update(data).deletes


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.booleans()), max_size=12))
def test_lengths_are_counted_in_utf16_units(edits: list[tuple[str, bool]]) -> None:
    doc = author(3)
    for value, delete in edits:
        if value:
            parse_update(typed(doc, value))
        if delete and len(doc.get("t", type=Text)):
            parse_update(erased(doc, 0, len(doc.get("t", type=Text))))
    found = parse_update(doc.get_update())
    units = sum(len(value.encode("utf-16-le")) // 2 for value, _ in edits)
    assert found.ranges == ([(3, 0, units)] if units else [])


def test_client_ids_of_53_bits() -> None:
    found = parse_update(update(section(2**53 - 1, BIG - 1, string("a", (2**53 - 2, BIG)))))
    assert found.ranges == [(2**53 - 1, BIG - 1, BIG)]


def test_updates_with_skips_as_yjs_14_writes_them() -> None:
    found = parse_update(update(section(1, 0, string("a"), skip(3), string("b", (1, 3)))))
    assert found.ranges == [(1, 0, 1), (1, 4, 5)]
    assert found.bodies == []


# state vectors


@pytest.mark.parametrize("data", ["8080808002", "80808040", "ffffffff0f", "ffffffffffffff0f", "020100", "01", ""])
def test_state_vector_bombs(data: str) -> None:
    """Five bytes that cost yrs a gigabyte."""
    with pytest.raises(ProtocolError) as error:
        parse_state_vector(bytes.fromhex(data), 200_000)
    assert error.value.rule in ("count", "truncated")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (state_vector({1: 1, 2: 2, 3: 3}), "state-vector-size"),
        (b"\x02\x01\x01\x01\x02", "duplicate-client"),
        (state_vector({1: 1}) + b"\x00", "trailing"),
        (state_vector({1: BIG + 1}), "clock"),
        (num(1) + num(2**53) + num(1), "varint"),
    ],
)
def test_state_vectors_that_are_refused(data: bytes, rule: str) -> None:
    with pytest.raises(ProtocolError) as error:
        parse_state_vector(data, 2)
    assert error.value.rule == rule


@given(st.dictionaries(st.integers(0, 2**53 - 1), st.integers(0, BIG), max_size=20))
def test_state_vectors_are_read_back(state: dict[int, int]) -> None:
    assert parse_state_vector(encode_state_vector(state), 20) == state
    assert encode_state_vector(state) == state_vector(state)


@given(st.binary(max_size=60))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    for parse in (parse_update, lambda raw: parse_state_vector(raw, 100)):
        try:
            parse(data)
        except ProtocolError as error:
            assert error.rule  # noqa: PT017
