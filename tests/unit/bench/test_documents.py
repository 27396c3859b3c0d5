"""Documents that scenarios open."""

from pathlib import Path
from typing import Any

import pycrdt
import pytest

from bench import documents
from bench.documents import document, keystroke, merged, replayed
from crdt.update import parse_state_vector, parse_update


def _text(*updates: bytes) -> str:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    for update in updates:
        doc.apply_update(update)
    return str(doc.get("quill", type=pycrdt.Text))


def test_a_recorded_session_ends_with_its_text() -> None:
    patches: list[tuple[int, int, str]]
    patches = [
        (0, 0, "world"),
        (0, 0, "hello "),
        (5, 6, ""),
        (5, 0, "!"),
        (0, 1, "J"),
        (6, 0, "?"),
        (1, 4, "a"),
    ]
    text = ""
    for position, removed, inserted in patches:
        text = text[:position] + inserted + text[position + removed :]
    one_each: list[dict[str, Any]] = [{"patches": [patch]} for patch in patches]
    assert _text(replayed(one_each)) == text == "Ja!?"
    assert _text(replayed([{"patches": patches}])) == text


def test_a_document_is_made_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "CACHE", tmp_path)
    monkeypatch.setattr(documents, "document_updates", lambda size: iter([keystroke(7, 0), keystroke(7, 1)]))
    made = document("big-1")
    monkeypatch.setattr(documents, "document_updates", lambda size: pytest.fail("made twice"))
    assert document("big-1") == made
    assert (made.state, made.size) == ({7: 2}, sum(map(len, made.updates)))
    assert _text(*made.updates) == "kk" == _text(merged(made).read_bytes())


def test_a_client_that_lacks_one_edit_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "CACHE", tmp_path)
    monkeypatch.setattr(documents, "document_updates", lambda size: iter([keystroke(7, 0), keystroke(7, 1)]))
    made = document("big-1")
    assert parse_state_vector(made.lacking_one(), 10) == {7: 1}
    assert parse_state_vector(made.state_vector(), 10) == {7: 2}


def test_without_the_recorded_session_another_document_stands_in_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "CACHE", tmp_path)
    monkeypatch.setattr(documents, "trace_file", lambda: None)
    monkeypatch.setattr(documents, "document_updates", lambda size: iter([keystroke(7, 0)]))
    assert "not found" in document("automerge-paper").source


def test_a_keystroke_stands_behind_the_one_before() -> None:
    assert parse_update(keystroke(9, 3)).ranges == [(9, 3, 4)]
    assert _text(keystroke(9, 0), keystroke(9, 1)) == "kk"


@pytest.mark.parametrize("name", ["novel", "big-", "big-x"])
def test_no_other_documents(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "CACHE", tmp_path)
    with pytest.raises(ValueError, match=name):
        document(name)


def test_the_note_is_whole_and_by_three_authors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "CACHE", tmp_path)
    note = document("note")
    assert _text(*note.updates) == documents.SENTENCE * 3
    assert len(note.state) == 3
