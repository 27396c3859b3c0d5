"""The decoder of bench/load reads out of an update exactly what crdt and Yjs read: which clocks of which clients."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText, merge_updates

from crdt.update import EMPTY_UPDATE, parse_update
from tests.unit.bench.programs import build

INTEROP = Path(__file__).parents[2] / "interop"

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")

# Lengths in UTF-8, in UTF-16 and in characters all differ.
PIECES = ("a", "some words ", "é", "ΑΩ", "€uro", "漢字", "😀", "a😀b", "👩‍👩‍👧", "\U00010000\uffff")
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    63,
    -64,
    2**31,
    -(2**53) + 1,
    1.5,
    1e300,
    float("inf"),
    "",
    "wörter😀",
    b"",
    b"\x00\xff" * 40,
    [],
    {},
    [1, ["x", {"y": [None, False]}]],
    {"é": {"n": 0.1}, "": []},
)


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load generator."""
    return build(tmp_path_factory.mktemp("programs")) / "load"


def parse(load: Path, folder: Path, updates: list[bytes]) -> list[dict[str, Any]]:
    """What the load generator makes of each update."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(updates), 1000):
        files = []
        for number, update in enumerate(updates[start : start + 1000]):
            files.append(folder / f"{number}.update")
            files[-1].write_bytes(update)
        done = subprocess.run([load, "parse", *files], stdout=subprocess.PIPE, check=True)
        found += map(json.loads, done.stdout.splitlines())
    assert len(found) == len(updates)
    return found


def edit(choose: random.Random, doc: Doc[Any]) -> None:
    """One random transaction of what pycrdt can write."""
    text = doc.get("quill", type=Text)
    values = doc.get("map", type=Map)
    items = doc.get("list", type=Array)
    xml = doc.get("xml", type=XmlFragment)
    with doc.transaction():
        for _ in range(choose.randrange(1, 4)):
            kind = choose.randrange(8)
            if kind == 0:
                text.insert(0, choose.choice(PIECES))
            elif kind == 1:
                text += choose.choice(PIECES)
            elif kind == 2 and len(text):
                text.format(0, len(text), {"bold": choose.choice([True, None]), "ü": "😀"})
            elif kind == 3:
                text.insert_embed(0, {"image": choose.choice(PIECES)})
            elif kind == 4:
                values[choose.choice(PIECES)] = choose.choice(VALUES)
            elif kind == 5:
                values["type"] = choose.choice([Map({"é": 1}), Array([1, "😀"]), Text("😀"), Doc()])
            elif kind == 6:
                items.insert(0, choose.choice(VALUES))
                if len(items) > 4:
                    del items[1:3]
            else:
                xml.children.append(choose.choice([XmlElement("påragraph", {"a": "ü"}), XmlText("😀x")]))


def random_updates(seed: int) -> list[bytes]:
    """Single transactions of four authors, whole documents, and merged parts with holes."""
    choose = random.Random(seed)
    docs = [Doc[Any]() for _ in range(4)]
    updates: list[bytes] = []
    for doc in docs:
        doc.observe(lambda event: updates.append(event.update))
    for _ in range(60):
        author = choose.choice(docs)
        edit(choose, author)
        if choose.random() < 0.3:
            author.apply_update(choose.choice(docs).get_update(author.get_state()))
    own = [update for update in updates if choose.random() < 0.6]
    return [*updates, docs[0].get_update(), merge_updates(*own), EMPTY_UPDATE]


@pytest.mark.parametrize("seed", range(6))
def test_ranges_of_updates_made_by_pycrdt(load: Path, tmp_path: Path, seed: int) -> None:
    updates = random_updates(seed)
    for update, found in zip(updates, parse(load, tmp_path, updates), strict=True):
        expected = parse_update(update)
        assert found == {
            "valid": True,
            "ranges": list(map(list, expected.ranges)),
            "deletes": list(map(list, expected.deletes)),
        }


def test_content_of_the_kind_json(load: Path, tmp_path: Path) -> None:
    """Written by Yjs before 13.5 only, and refused by crdt: two values, of client 5 from clock 0."""
    update = bytes([1, 1, 5, 0, 2, 1, 4, *b"list", 2, 1, ord("1"), 2, *b"[]", 0])
    assert parse(load, tmp_path, [update]) == [{"valid": True, "ranges": [[5, 0, 2]], "deletes": []}]


def test_an_update_that_is_cut_short_or_continued_is_not_one(load: Path, tmp_path: Path) -> None:
    update = random_updates(99)[-2]
    spoilt = [update[:size] for size in range(0, len(update), 7)] + [update + b"\0"]
    assert [found["valid"] for found in parse(load, tmp_path, spoilt)] == [False] * len(spoilt)


def test_random_bytes_do_no_harm(load: Path, tmp_path: Path) -> None:
    """Changed bytes are read as something or refused, within the data: a crash or an endless loop would end the run."""
    choose = random.Random(5)
    update = random_updates(98)[-2]
    spoilt = []
    for _ in range(2000):
        changed = bytearray(update)
        for _ in range(choose.randrange(1, 4)):
            changed[choose.randrange(len(changed))] = choose.randrange(256)
        spoilt.append(bytes(changed))
    valid = [found["valid"] for found in parse(load, tmp_path, spoilt)]
    assert not all(valid)


@pytest.mark.interop
@pytest.mark.parametrize("seed", range(3))
def test_ranges_of_updates_made_by_yjs(load: Path, tmp_path: Path, seed: int) -> None:
    script = Path(__file__).with_name("random_updates.mjs").read_text()
    command = ["node", "--input-type=module", "--eval", script, str(seed + 1)]
    done = subprocess.run(command, cwd=INTEROP, stdout=subprocess.PIPE, check=True)
    cases = json.loads(done.stdout)
    assert len(cases) > 1000
    updates = [bytes.fromhex(case.pop("update")) for case in cases]
    for case, found in zip(cases, parse(load, tmp_path, updates), strict=True):
        assert found == {"valid": True, **case}
