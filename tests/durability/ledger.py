"""What was written to a room, what the server called saved, and whether a state agrees with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

TOKEN = re.compile(r"\[\d+-\d+-\d+\]")


@dataclass(slots=True)
class Tally:
    """Counts of one or more checks. The first group are faults: each must be 0."""

    missing: int = 0
    undone: int = 0
    doubled: int = 0
    unknown: int = 0
    torn: int = 0
    incomplete: int = 0
    saved_inserts: int = 0
    saved_deletes: int = 0
    unacked: int = 0
    unacked_survived: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Number of things that must not happen."""
        return self.missing + self.undone + self.doubled + self.unknown + self.torn + self.incomplete

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        for name in self.__slots__:
            if name == "examples":
                self.examples += other.examples[: 10 - len(self.examples)]
            else:
                setattr(self, name, getattr(self, name) + getattr(other, name))

    def fault(self, name: str, what: str) -> None:
        """Count a fault and keep it as an example."""
        setattr(self, name, getattr(self, name) + 1)
        if len(self.examples) < 10:
            self.examples.append(f"{name}: {what}")


class Ledger:
    """One room. A token is in `inserts` and `deletes` with True once the server reported it saved.

    What survived a crash is on the disk, whether it was reported or not: from then on it must stay.
    """

    def __init__(self) -> None:
        self.inserts: dict[str, bool] = {}
        self.deletes: dict[str, bool] = {}

    def note(self, inserted: Sequence[tuple[str, bool]], deleted: Sequence[tuple[str, bool]]) -> Tally:
        """Take what one client did in a round; returns how much of it was saved, and how much was not."""
        tally = Tally()
        for book, actions in ((self.inserts, inserted), (self.deletes, deleted)):
            for token, saved in actions:
                book[token] = book.get(token, False) or saved
        tally.saved_inserts = sum(saved for _, saved in inserted)
        tally.saved_deletes = sum(saved for _, saved in deleted)
        return tally

    def check(self, text: str, keys: Sequence[str], pending: bool) -> Tally:
        """Compare what a stranger read after a crash, then take it for granted."""
        tally = Tally()
        found = TOKEN.findall(text)
        present = set(found)
        if "".join(found) != text:
            tally.fault("torn", "the text is not a row of whole tokens")
        if present != set(keys):
            tally.fault("torn", f"text and map differ in {sorted(present ^ set(keys))[:3]}")
        if pending:
            tally.fault("incomplete", "a reader waits for something that the server does not have")
        for token, count in Counter(found).items():
            if count > 1:
                tally.fault("doubled", f"{token} {count} times")
            if token not in self.inserts:
                tally.fault("unknown", token)
            elif self.deletes.get(token, False):
                tally.fault("undone", token)
        for token, saved in self.inserts.items():
            if saved and token not in present and token not in self.deletes:
                tally.fault("missing", token)
        self._settle(present, tally)
        return tally

    def _settle(self, present: set[str], tally: Tally) -> None:
        """Count what was not reported saved, and forget what did not survive.

        Its only copy died with the client, and a token is never written twice: if it shows up again, nobody wrote it.
        """
        for token, saved in list(self.inserts.items()):
            if saved:
                continue
            survived = token in present or self.deletes.get(token, False)
            tally.unacked += 1
            tally.unacked_survived += survived
            if survived:
                self.inserts[token] = True
            else:
                del self.inserts[token]
                self.deletes.pop(token, None)
        for token, saved in list(self.deletes.items()):
            if saved:
                continue
            survived = token not in present
            tally.unacked += 1
            tally.unacked_survived += survived
            if survived:
                self.deletes[token] = True
            else:
                del self.deletes[token]
