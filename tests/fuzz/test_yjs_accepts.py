"""What the server sends on is applied by real Yjs without an error and without anything left pending."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from pathlib import Path
from random import Random

import pytest

from crdt.errors import ProtocolError
from crdt.replica import Limits, Replica
from tests.fuzz.inputs import damaged, grammar_case, real_updates
from tests.oracle.oracle import missing
from tests.unit.crdt.build import gc, item, section, string, text, update

SCRIPT = Path(__file__).with_name("accepts.mjs")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


def sent_on(case: list[bytes]) -> list[bytes]:
    """What readers get when a writer sends this."""
    replica = Replica(Limits())
    out = []
    for data in case:
        try:
            replica.receive(data, None)
        except ProtocolError:
            continue
        flushed = replica.flush()
        if flushed is not None:
            out.append(flushed)
    return out


def verdicts(cases: list[list[bytes]]) -> list[str]:
    """What Yjs says of each sequence of updates."""
    lines = "".join(json.dumps([b64encode(data).decode() for data in case]) + "\n" for case in cases)
    done = subprocess.run(["node", str(SCRIPT)], input=lines, capture_output=True, text=True, check=True, timeout=110)
    return [json.loads(line) for line in done.stdout.splitlines()]


def random_cases(seed: int, count: int) -> list[list[bytes]]:
    """Grammar-written and real sequences, some of them damaged."""
    random = Random(seed)
    real = real_updates()
    cases = []
    for _ in range(count):
        case = grammar_case(random)
        if random.random() < 0.3:
            start = random.randrange(len(real))
            case = real[start : start + random.randint(1, 5)]
        cases.append([damaged(random, data) if random.random() < 0.3 else data for data in case])
    return cases


def test_whatever_is_accepted_is_accepted_by_yjs() -> None:
    cases = [case for case in map(sent_on, random_cases(7, 6000)) if case]
    assert len(cases) > 1000
    wrong = [
        (verdict, [data.hex() for data in case])
        for case, verdict in zip(cases, verdicts(cases), strict=True)
        if verdict != "ok"
    ]
    assert wrong == []


def test_yjs_does_throw_on_what_is_refused_or_cut_away() -> None:
    """Otherwise the rules would be for nothing."""
    refused = {
        "subdocument without options": [update(section(1, 0, item(9, text("g") + b"\x7e")))],
        "kind of a value as an integer": [update(section(1, 0, item(8, b"\x01\xf7\x00\x01a")))],
        "section without structs": [b"\x01\x00\x01\x00\x00"],
        "empty string before a neighbour": [
            update(section(1, 0, string("a"))),
            update(section(1, 1, string("", (1, 0)))),
            update(section(2, 0, string("b", (1, 0)))),
        ],
        "JSON that is none": [update(section(1, 0, item(5, text("NaN"))))],
    }
    said = dict(zip(refused, verdicts(list(refused.values())), strict=True))
    assert [name for name, verdict in said.items() if verdict == "ok"] == ["section without structs"]
    assert verdicts([sent_on(case) for case in refused.values()]) == ["ok"] * len(refused)
    assert verdicts([[update(section(1, 1, gc(1)))]]) == ["something is pending"]
