"""The documents that scenarios open: made once, kept in build/bench/documents.

`note` is a small text by three authors. `automerge-paper` is a recorded session, if it can be found (see `trace_file`);
otherwise a generated document of the same size stands in and says so. `big-4` and `big-20` are generated: megabytes of
paragraphs by forty authors.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pycrdt

from bench.big_document import document_updates
from crdt.index import coalesce, encode_deletes
from crdt.merge import merge
from crdt.structs import Section, write_update
from crdt.update import HAS_ORIGIN, HAS_RIGHT, STRING, encode_state_vector, parse_update
from crdt.varint import uint, write_bytes

ROOT: Final = Path(__file__).parents[1]
CACHE: Final = ROOT / "build" / "bench" / "documents"
TRACE: Final = "automerge-paper"
NOTE: Final = "note"
SENTENCE: Final = "What three people have noted down in one short text, each of them behind what the others have said. "
WRITER: Final = 2_718_281_828  # as long as ids of Yjs clients are
START: Final = -1  # before the first character of a text
END: Final = -2  # behind the last one
PARENT: Final = b"\x01\x05quill"


@dataclass(frozen=True, slots=True)
class Document:
    """A document as a client would hand it in.

    Attributes:
        name: what the settings call it.
        source: where it comes from, for the report.
        updates: valid updates in causal order, each below the message limits of all servers.
        state: client id -> next clock, after all updates.
    """

    name: str
    source: str
    updates: tuple[bytes, ...]
    state: dict[int, int]

    @property
    def size(self) -> int:
        """Bytes of all updates."""
        return sum(map(len, self.updates))

    def lacking_one(self) -> bytes:
        """The state vector of a client that lacks the last clock of one author."""
        client = min(self.state)
        return encode_state_vector({**self.state, client: self.state[client] - 1})

    def state_vector(self) -> bytes:
        """The state vector of a client that has everything."""
        return encode_state_vector(self.state)


def document(name: str) -> Document:
    """The document of that name: `note`, `automerge-paper` or `big-<megabytes>`; made when it is not there yet.

    Raises:
        ValueError: when there is no document of that name.
    """
    folder = CACHE / name
    if not (folder / "about.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _keep(_make(name), folder)
    about = json.loads((folder / "about.json").read_text())
    updates = tuple(path.read_bytes() for path in sorted(folder.glob("*.update")))
    return Document(about["name"], about["source"], updates, {int(k): v for k, v in about["state"].items()})


def merged(text: Document) -> Path:
    """A file with the whole document as one update, for the generator, which knows from it what clients must get."""
    path = CACHE / f"{text.name}.merged"
    if not path.is_file():
        path.write_bytes(merge(text.updates))
    return path


def keystroke(client: int, clock: int) -> bytes:
    """One character typed by `client` behind its last one, or at the start of the text if it is the first."""
    section = Section(client, clock)
    section.count = 1
    behind = bytes([STRING | HAS_ORIGIN]) + uint(client) + uint(clock - 1) if clock else bytes([STRING]) + PARENT
    section.pieces.append(behind + b"\x01k")
    return write_update([section], b"\x00")


def trace_file() -> Path | None:
    """The gzipped recorded session, in $SYNCD_TRACES or in `shared/data/traces` beside the checkout; None if absent."""
    folders = [Path(os.environ["SYNCD_TRACES"])] if "SYNCD_TRACES" in os.environ else []
    folders.append(ROOT.parent / "shared" / "data" / "traces")
    for folder in folders:
        path = folder / f"{TRACE}.json.gz"
        if path.is_file():
            return path
    return None


def replayed(transactions: list[dict[str, Any]]) -> bytes:
    """The update of one writer who made these transactions, one after the other, as a client's document encodes it.

    The origins of each insertion are found here, since finding them in an engine takes minutes. They are those that
    Yjs takes (`insertText`, `minimizeAttributeChanges`): to the right the next visible character, to the left what
    stands before it, be it deleted.
    """
    doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=WRITER)
    visible: list[int] = []
    before: dict[int, int] = {END: START}
    clock = 0
    for transaction in transactions:
        deleted: list[tuple[int, int]] = []
        section = Section(WRITER, clock)
        for position, removed, inserted in transaction["patches"]:
            deleted += [(gone, gone + 1) for gone in visible[position : position + removed]]
            del visible[position : position + removed]
            if not inserted:
                continue
            right = visible[position] if position < len(visible) else END
            section.pieces.append(_insertion(before[right], right, inserted))
            section.count += 1
            end = clock + len(inserted)
            visible[position:position] = range(clock, end)
            before |= zip(range(clock, end), (before[right], *range(clock, end - 1)), strict=True)
            before[right] = end - 1
            clock = end
        doc.apply_update(write_update([section] if section.count else [], encode_deletes({WRITER: coalesce(deleted)})))
    return doc.get_update()


def _insertion(left: int, right: int, text: str) -> bytes:
    """A struct that inserts ASCII text between two characters."""
    flags = (HAS_ORIGIN if left != START else 0) | (HAS_RIGHT if right != END else 0)
    out = bytearray([STRING | flags])
    if left != START:
        out += uint(WRITER) + uint(left)
    if right != END:
        out += uint(WRITER) + uint(right)
    if not flags:
        out += PARENT
    write_bytes(out, text.encode())
    return bytes(out)


def _make(name: str) -> Document:
    if name == TRACE:
        path = trace_file()
        if path is None:
            updates = list(document_updates(311_000))
            return _of(name, "generated, since the recorded session automerge-paper was not found", updates)
        session = json.loads(gzip.decompress(path.read_bytes()))
        source = "recorded session automerge-paper (Martin Kleppmann, CC BY 4.0)"
        return _of(name, source, [replayed(session["txns"])])
    if name == NOTE:
        return _of(name, "generated: three authors, a hundred characters each", [_note()])
    kind, _, megabytes = name.partition("-")
    if kind != "big" or not megabytes.isdecimal():
        raise ValueError(f"there is no document called {name}")
    return _of(name, "generated: paragraphs of forty authors", list(document_updates(int(megabytes) * 1_000_000)))


def _note() -> bytes:
    whole: pycrdt.Doc[Any] = pycrdt.Doc()
    for author in range(3):
        doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=WRITER + author)
        doc.apply_update(whole.get_update())
        doc.get("quill", type=pycrdt.Text).insert(author * len(SENTENCE), SENTENCE)
        whole.apply_update(doc.get_update())
    return whole.get_update()


def _of(name: str, source: str, updates: list[bytes]) -> Document:
    return Document(name, source, tuple(updates), _clocks(merge(updates)))


def _clocks(update: bytes) -> dict[int, int]:
    clocks: dict[int, int] = {}
    for client, _, end in parse_update(update).ranges:
        clocks[client] = max(end, clocks.get(client, 0))
    return clocks


def _keep(made: Document, folder: Path) -> None:
    for number, update in enumerate(made.updates):
        (folder / f"{number:03}.update").write_bytes(update)
    about = asdict(made)
    del about["updates"]
    (folder / "about.json").write_text(json.dumps(about))
