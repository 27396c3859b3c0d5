"""Inputs for the fuzzer: updates written by a grammar, real updates, and both of them damaged."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from tests.unit.crdt.build import gc, item, num, section, skip, state_vector, text, update

CLIENTS = (1, 2, 3, 200, 2**32 - 1, 2**53 - 1)
STRINGS = ("", "a", "t", "m", "é", "🎉", "key", "hello", "\x00", "\u2028", "x" * 130)
JSONS = (
    "1", "null", "true", '"a"', "{}", "[]", '{"a":{"b":[1,2,{"c":null}]}}', "1e400", "NaN", '"\\ud800"', "-0", "1.5e-7",
    "[" * 63 + "]" * 63, "[" * 65 + "]" * 65, '{"a":1,"a":2}', " 1 ", "9007199254740993", "1234567890" * 3,
    '"\\u0000"', '{"__proto__":null}', "", "tru", "1" * 301, "0.1" + "0" * 400, "1E5", "2" * 299, '{"":{"":""}}',
)  # fmt: skip
NUMBERS = (0, 1, 2, 3, 5, 127, 128, 255, 2**14, 2**21, 2**31 - 2, 2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**53, 2**60)


def any_value(random: Random, depth: int = 0) -> bytes:
    """A lib0 Any value, mostly a valid one."""
    kind = random.choice((127, 126, 125, 124, 123, 122, 121, 120, 119, 118, 117, 116, 115, 0, 247))
    if kind in (118, 117) and depth > 5:
        kind = 126
    body = b""
    if kind == 119:
        body = text(random.choice(STRINGS))
    elif kind == 125:
        body = num(random.choice(NUMBERS))
    elif kind in (122, 123, 124):
        body = random.choice((struct.pack(">d", random.random()), b"\xff" * 8, b"\x7f\xf8" + bytes(6)))
        body = body[:4] if kind == 124 else body
    elif kind == 118:
        count = random.randint(0, 3)
        values = (text(random.choice(STRINGS)) + any_value(random, depth + 1) for _ in range(count))
        body = num(count) + b"".join(values)
    elif kind == 117:
        count = random.randint(0, 3)
        body = num(count) + b"".join(any_value(random, depth + 1) for _ in range(count))
    elif kind == 116:
        body = text(random.choice(STRINGS))
    return bytes((kind,)) + body


def content(random: Random, ref: int) -> bytes:
    """The content of an item."""
    if ref == 1:
        return num(random.choice((1, 1, 2, 3, random.choice(NUMBERS))))
    if ref == 2:
        return num(1) + text(random.choice(JSONS))
    if ref in (3, 4):
        return text(random.choice(STRINGS))
    if ref == 5:
        return text(random.choice(JSONS))
    if ref == 6:
        return text(random.choice(STRINGS)) + text(random.choice(JSONS))
    if ref == 7:
        kind = random.randint(0, 8)
        return num(kind) + (text(random.choice(STRINGS)) if kind in (3, 5) else b"")
    if ref == 8:
        count = random.choice((1, 1, 1, 2, 3, 0))
        return num(count) + b"".join(any_value(random) for _ in range(count))
    return text("guid") + (any_value(random) if random.random() < 0.3 else b"\x76\x01" + text("k") + any_value(random))


class Writer:
    """Writes updates for one document that mostly continue one another, so that engines get deep into them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.clocks = dict.fromkeys(CLIENTS, 0)

    def _id(self) -> tuple[int, int]:
        client = self.random.choice(CLIENTS[:4])
        clock = self.clocks[client]
        if self.random.random() < 0.05:
            return client, self.random.choice(NUMBERS)
        return client, self.random.randrange(clock) if clock else 0

    def _struct(self, client: int) -> bytes:
        random = self.random
        roll = random.random()
        if roll < 0.06:
            length = random.randint(1, 3)
            self.clocks[client] += length
            return gc(length) if random.random() < 0.8 else skip(length)
        ref = random.choice((4, 4, 4, 1, 3, 5, 6, 7, 7, 8, 8, 9) if roll < 0.97 else range(32))
        left = self._id() if random.random() < 0.5 else None
        right = self._id() if random.random() < 0.25 else None
        parent: str | tuple[int, int] = self._id() if random.random() < 0.3 else random.choice("tmax")
        sub = random.choice(STRINGS) if random.random() < 0.2 else None
        body = content(random, ref) if ref <= 9 else b"\x01"
        written = item(ref, body, left=left, right=right, parent=parent, sub=sub)
        self.clocks[client] += self._length(ref, body)
        return written

    @staticmethod
    def _length(ref: int, body: bytes) -> int:
        if ref == 4:
            value = body[1:] if len(body) < 129 else body[2:]
            return len(value.decode().encode("utf-16-le")) // 2
        return body[0] if ref in (1, 8) else 1

    def write(self) -> bytes:
        """The next update."""
        random = self.random
        sections = []
        for client in random.sample(CLIENTS, random.choice((1, 1, 1, 2, 3))):
            start = self.clocks[client]
            if random.random() < 0.1:
                start = max(0, start + random.choice((-2, -1, 1, 5)))
                self.clocks[client] = start
            structs = [self._struct(client) for _ in range(random.choice((1, 1, 2, 4)))]
            sections.append(section(client, start, *structs))
        deletes: dict[int, list[tuple[int, int]]] = {}
        for _ in range(random.choice((0, 0, 1, 3))):
            client, clock = self._id()
            deletes.setdefault(client, []).append((clock, random.choice((1, 1, 2, 4))))
        return update(*sections, deletes=deletes)


def grammar_case(random: Random) -> list[bytes]:
    """A few updates of one document."""
    writer = Writer(random)
    return [writer.write() for _ in range(random.randint(1, 4))]


def real_updates() -> list[bytes]:
    """What honest clients send: every kind of content, one update per edit, and whole documents."""
    doc: Doc[Any] = Doc(client_id=7)
    sent: list[bytes] = []
    subscription = doc.observe(lambda event: sent.append(event.update))
    body, table, values = doc.get("t", type=Text), doc.get("m", type=Map), doc.get("a", type=Array)
    tree = doc.get("x", type=XmlFragment)
    for typed in ("hello", " é🎉", "\n"):
        body += typed
    body.format(0, 4, {"bold": True, "link": {"href": "x"}})
    body.insert_embed(2, {"image": "y"}, {"width": 3})
    del body[1:3]
    pairs: list[tuple[str, Any]] = [
        ("i", 7),
        ("f", 1.5),
        ("n", None),
        ("l", [1, {"z": None}]),
        ("y", b"\x00\xff"),
        ("i", 2**50),
    ]
    for key, value in pairs:
        table[key] = value
    table["t"] = Text("nested")
    table["d"] = Doc()
    values.extend([1, "a", [2.5], Map({"deep": Array([1])})])
    del values[1]
    element = XmlElement("p", {"id": "1"})
    tree.children.append(element)
    element.children.append(XmlText("words"))
    doc.unobserve(subscription)
    return [*sent, doc.get_update()]


def damaged(random: Random, data: bytes) -> bytes:
    """The same bytes with a few of them changed, lost, doubled or swapped for an odd number."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(out) + 1)
        action = random.randrange(6)
        if action == 0 and out:
            out[at % len(out)] ^= 1 << random.randrange(8)
        elif action == 1 and out:
            out[at % len(out)] = random.choice((0, 1, 2, 127, 128, 255, random.randrange(256)))
        elif action == 2:
            del out[at : at + random.randint(1, 4)]
        elif action == 3:
            out[at:at] = bytes(random.randrange(256) for _ in range(random.randint(1, 4)))
        elif action == 4:
            out[at:at] = num(random.choice(NUMBERS))
        else:
            start = random.randrange(len(out) + 1)
            out[at:at] = out[start : start + random.randint(1, 12)]
    return bytes(out)


def noise(random: Random) -> bytes:
    """Any bytes."""
    return random.randbytes(random.choice((0, 1, 2, 3, 8, 40, 200)))


def odd_state_vector(random: Random) -> bytes:
    """A state vector, perhaps of odd numbers."""
    entries = {random.choice(CLIENTS): random.choice(NUMBERS) for _ in range(random.randint(0, 4))}
    return state_vector(entries)
