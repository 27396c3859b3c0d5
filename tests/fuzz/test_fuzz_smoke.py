"""A short run of the fuzzer in every test run, and a check that it would notice something."""

from __future__ import annotations

import pytest

from crdt.errors import ProtocolError
from tests.fuzz import engine, fuzz_parse
from tests.fuzz.coverage import Lines
from tests.fuzz.fuzz_parse import Fuzzer, main


@pytest.mark.timeout(300)
def test_twenty_thousand_executions() -> None:
    result = Fuzzer(seed=20_261_123).run(20_000, seconds=240)
    assert result.wrong == []
    assert result.executions > 1000
    assert len(result.refused) > 20
    assert result.accepted > 100


def test_it_notices_an_error_of_another_kind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(data: bytes) -> None:
        if len(data) > 3:
            raise IndexError("planted")
        raise ProtocolError("short", "")

    monkeypatch.setattr(fuzz_parse, "PARSERS", {"update": broken})
    assert main(["--executions", "60", "--seconds", "60"]) == 1
    assert "IndexError: planted" in capsys.readouterr().out


def test_lines_are_counted() -> None:
    with Lines(["tests/fuzz/engine.py"]) as lines:
        engine.judge([])
    ((reached, total, missed),) = lines.report().values()
    assert 0 < reached < total
    assert len(missed) == total - reached
