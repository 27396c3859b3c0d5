"""Kinds of root types, and characters cut in two."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from crdt.render_roots import mend_pairs, root_kinds
from crdt.update import parse_update
from tests.unit.crdt.build import any_item, gc, item, section, string, update


def _doc(**roots: Any) -> bytes:
    doc: Doc[Any] = Doc(roots)
    return doc.get_update()


def test_kinds_of_ordinary_documents() -> None:
    doc: Doc[Any] = Doc()
    fragment = doc.get("x", type=XmlFragment)
    fragment.children.append(XmlElement("p", {"a": "1"}, [XmlText("hey")]))
    doc["t"] = Text("one")
    doc["a"] = Array([1, "two"])
    doc["types"] = Array([Map({"k": 1}), Text("nested"), Array(["s"])])
    doc["m"] = Map({"k": Text("in a map")})
    assert root_kinds([doc.get_update()]) == {"x": "xml", "t": "text", "a": "array", "types": "array", "m": "map"}


def test_nothing_has_no_roots() -> None:
    assert root_kinds([]) == {}
    assert root_kinds([b"\x00\x00"]) == {}


def test_content_tells_more_than_keys() -> None:
    data = update(section(1, 0, item(8, b"\x01\x7e", sub="attribute"), string("text")))
    assert root_kinds([data]) == {"t": "text"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (item(6, b"\x01b\x04true"), "text"),
        (item(5, b"\x02{}"), "text"),
        (any_item(b"\x7e"), "array"),
        (item(3, b"\x01x"), "array"),
        (item(7, b"\x00"), "array"),
        (item(7, b"\x03\x01p"), "xml"),
        (item(7, b"\x06"), "xml"),
        (item(1, b"\x02"), "empty"),
        (item(1, b"\x02", sub="k"), "map"),
    ],
)
def test_kind_of_one_item(content: bytes, kind: str) -> None:
    assert root_kinds([update(section(1, 0, content))]) == {"t": kind}


def test_a_deleted_beginning_does_not_hide_what_follows_it() -> None:
    first = update(section(1, 0, item(1, b"\x03")))
    second = update(section(2, 0, string("b", left=(1, 2))))
    third = update(section(3, 0, item(1, b"\x01", right=(2, 0))))
    assert root_kinds([first, second, third]) == {"t": "text"}
    assert root_kinds([third, second, first]) == {"t": "text"}


def test_values_of_nested_types_say_nothing_about_the_root() -> None:
    data = update(
        section(1, 0, item(7, b"\x01", sub="k"), string("nested", parent=(1, 0)), string("more", left=(1, 6)))
    )
    assert root_kinds([data]) == {"t": "map"}


def test_what_stands_on_collected_structs_stands_nowhere() -> None:
    data = update(section(1, 0, any_item(b"\x7e"), gc(4)))
    late = update(section(2, 0, string("lost", left=(1, 2))))
    assert root_kinds([data, late]) == {"t": "array"}


def test_items_that_stand_on_one_another_in_a_circle_end_nowhere() -> None:
    data = update(section(1, 0, string("a", left=(2, 0))), section(2, 0, string("b", left=(1, 0))))
    assert root_kinds([data]) == {}


def test_many_random_insertions_are_one_text() -> None:
    chance = random.Random(7)
    docs: list[Doc[Any]] = [Doc(client_id=number) for number in (1, 2)]
    updates: list[bytes] = []
    for _ in range(300):
        doc = chance.choice(docs)
        before = doc.get_state()
        shared = doc.get("body", type=Text)
        shared.insert(chance.randint(0, len(shared)), chance.choice("abc"))
        updates.append(doc.get_update(before))
        for other in docs:
            if chance.random() < 0.3:
                other.apply_update(doc.get_update(other.get_state()))
    assert root_kinds(updates) == {"body": "text"}


def _rendered(data: bytes) -> str:
    parse_update(data)
    doc: Doc[Any] = Doc()
    doc.apply_update(data)
    return str(doc.get("t", type=Text))


def test_a_character_of_which_half_is_deleted_becomes_a_replacement_character() -> None:
    data = update(section(1, 0, string("x🎉y")), deletes={1: [(2, 1)]})
    assert _rendered(mend_pairs(data)) == "x\ufffdy"  # as Yjs does it


def test_a_character_that_something_is_inserted_into_becomes_two() -> None:
    for between in (string("-", left=(1, 1), right=(1, 2)), string("-", left=(1, 1)), string("-", right=(1, 2))):
        data = update(section(1, 0, string("x🎉y🎉")), section(2, 0, between))
        mended = mend_pairs(data)
        assert mended.count("\ufffd".encode()) == 2
        assert _rendered(mended).count("\ufffd") == 2
        assert "y🎉" in _rendered(mended)


def test_whole_characters_stay_as_they_are() -> None:
    data = update(
        section(1, 0, string("x🎉y"), string("ä" * 100 + "🎉", left=(1, 3))),
        section(2, 0, string("-", left=(1, 2))),
        deletes={1: [(1, 2)]},
    )
    assert mend_pairs(data) == data
    plain = _doc(t=Text("no emoji"))
    assert mend_pairs(plain) == plain


def test_a_longer_string_keeps_a_readable_length() -> None:
    data = update(section(1, 0, string("🎉" * 31)), deletes={1: [(at * 2, 1) for at in range(31)]})
    assert _rendered(mend_pairs(data)) == "\ufffd" * 31
